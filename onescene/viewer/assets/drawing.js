// Drawing: the canvas and its size, when a frame is due, and what goes into it.

import { Pace } from "./pace.js";

const NEAR = 0.025; // of the scene's radius: Gaussians fade out between three times this and this depth
const MAX_PIXELS = 4e6;
const LONGEST_STEP = 0.3; // seconds: what a frame moves at most, however long it took

export class Drawing {
  // hooks: move(seconds) -> whether more is to come, moved() when the camera or the size has changed, drawn();
  // away() whether the picture comes from elsewhere.
  constructor(root, camera, layers, radius, hooks) {
    Object.assign(this, { camera, layers, radius, hooks, pace: new Pace(), stride: 1 });
    Object.assign(this, { seen: "", dirty: true, running: false, over: () => {} });
    this.canvas = root.appendChild(document.createElement("canvas"));
  }

  // The graphics card's context. The canvas has its size before: to change it later waits for the card.
  start() {
    this.resize(1);
    const wanted = { alpha: false, antialias: false, depth: false, powerPreference: "high-performance" };
    this.gl = this.canvas.getContext("webgl2", wanted);
    if (!this.gl) {
      throw new Error("This browser offers no WebGL2, which drawing the scene needs. A current Firefox, Chrome, Edge " +
        "or Safari has it; check that hardware acceleration is switched on.");
    }
    new ResizeObserver(() => this.wake()).observe(this.canvas);
    return this.gl;
  }

  // Size of the element [CSS pixels].
  size() { return [Math.max(1, this.canvas.clientWidth), Math.max(1, this.canvas.clientHeight)]; }

  view() {
    const axes = this.camera.axes(), { width, height } = this.canvas, focal = this.camera.focal(width, height);
    return {
      eye: this.camera.position, camFromWorld: [...axes.right, ...axes.down, ...axes.forward], focal: [focal, focal],
      near: NEAR * this.radius, slopes: [width / (2 * focal), height / (2 * focal)], axes,
    };
  }

  // Fits the drawing buffer to the element: at most two pixels per CSS pixel, fewer while moving on a slow machine.
  resize(quality) {
    const [width, height] = this.size(), most = Math.sqrt(MAX_PIXELS / (width * height));
    this.ratio = quality * Math.min(window.devicePixelRatio || 1, 2, most);
    const size = [width, height].map((side) => Math.max(1, Math.round(side * this.ratio)));
    if (this.canvas.width === size[0] && this.canvas.height === size[1]) return;
    [this.canvas.width, this.canvas.height] = size;
    this.dirty = true;
  }

  draw(marked = true) {
    const view = this.view();
    this.layers.draw(view);
    if (marked) this.over(view, this.ratio);
    this.dirty = false;
  }

  // Sorts for the camera as it stands and draws; resolves when that is on the canvas.
  async render(marked = true) {
    this.stride = 1;
    this.resize(1);
    await this.layers.active.sort();
    this.draw(marked);
  }

  async snapshot() {
    await this.render();
    return this.canvas.toDataURL("image/png"); // in the same task as draw(): the buffer is still there
  }

  // Something has changed that the camera does not tell.
  changed() {
    this.dirty = true;
    this.wake();
  }

  wake() {
    if (this.running) return;
    this.running = true;
    this.last = null; // a pause is no movement
    requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.running = false;
    if (this.closed || !this.layers.active) return;
    const passed = this.last === null ? 1 / 60 : (now - this.last) / 1000, away = this.hooks.away();
    if (this.drew && this.last !== null) this.pace.measure(passed);
    const moving = this.hooks.move(Math.min(LONGEST_STEP, passed)), { quality, stride } = this.pace.next(moving);
    this.stride = stride;
    if (!away) this.resize(quality);
    const seen = JSON.stringify([this.camera, this.size(), this.stride]);
    if (seen !== this.seen) {
      this.seen = seen;
      this.dirty = true;
      if (!away) this.layers.active.sort();
      this.hooks.moved();
    }
    this.drew = this.dirty && !away;
    if (this.drew) this.draw();
    if (moving) {
      this.wake();
      this.last = now;
    }
    this.hooks.drawn();
  }

  close() {
    this.closed = true;
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
