// Pictures that Python renders: asked for while the camera moves, one at a time, and laid over the canvas.

const MOVING_PX = 480; // longer side while the camera moves
const RESTING_PX = 1280; // and when it has come to rest

export class Remote {
  // ask(json of the camera, resting): must lead to show(bytes, resting) later on.
  constructor(root, ask, changed) {
    Object.assign(this, { ask, changed, on: false, waiting: false, stale: false, rate: 0 });
    this.canvas = document.createElement("canvas");
    this.canvas.className = "os-remote";
    this.canvas.hidden = true;
    root.querySelector("canvas").after(this.canvas);
  }

  toggle(json) {
    this.on = !this.on;
    this.canvas.hidden = true; // until there is a picture
    this.last = null;
    if (this.on) this.want(json);
  }

  // The camera has moved.
  want(json) {
    if (!this.on) return;
    Object.assign(this, { json, stale: true });
    if (!this.waiting) this.next(false);
  }

  next(resting) {
    Object.assign(this, { waiting: true, stale: false });
    const most = resting ? RESTING_PX : MOVING_PX, { w, h } = this.json, factor = Math.min(1, most / Math.max(w, h));
    this.ask({ ...this.json, ...scaled(this.json, factor) }, resting);
  }

  // A picture has come, as the bytes of an image file.
  async show(bytes, resting) {
    const picture = await createImageBitmap(new Blob([bytes]));
    const now = performance.now();
    if (this.last && !resting) this.rate += 0.2 * (1000 / (now - this.last) - this.rate);
    this.last = resting ? null : now;
    [this.canvas.width, this.canvas.height] = [picture.width, picture.height];
    this.canvas.getContext("2d").drawImage(picture, 0, 0);
    this.canvas.hidden = !this.on;
    this.waiting = false;
    this.pictures = (this.pictures ?? 0) + 1;
    this.changed();
    if (this.on && (this.stale || !resting)) this.next(!this.stale);
  }
}

function scaled({ fl_x, fl_y, w, h }, factor) {
  const size = [w, h].map((side) => Math.max(1, Math.round(side * factor)));
  return { fl_x: fl_x * size[0] / w, fl_y: fl_y * size[1] / h, cx: size[0] / 2, cy: size[1] / 2, w: size[0], h: size[1] };
}
