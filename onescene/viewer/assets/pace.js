// How much to draw: slow machines get fewer pixels while moving, then fewer Gaussians; at rest all is drawn.

const SLOW_FRAME = 0.045, FAST_FRAME = 0.02; // seconds
const LEAST_QUALITY = 0.5; // pixels per pixel, along each side
const MAX_STRIDE = 8; // at least every eighth Gaussian
const CALM_FRAMES = 12; // fast ones, before more is drawn: a canvas of another size makes the page wait for the card

export class Pace {
  constructor() { Object.assign(this, { quality: 1, stride: 1, calm: 0, frameSeconds: FAST_FRAME }); }

  // A frame that was drawn took so long.
  measure(seconds) { this.frameSeconds += 0.3 * (seconds - this.frameSeconds); }

  // What to draw next: pixels per pixel along each side, and every how manieth Gaussian.
  next(moving) {
    if (!moving) return { quality: 1, stride: 1 };
    if (this.frameSeconds > SLOW_FRAME) {
      const excess = this.frameSeconds / SLOW_FRAME;
      if (this.quality > LEAST_QUALITY) this.quality = Math.max(LEAST_QUALITY, this.quality / Math.sqrt(excess));
      else this.stride = Math.min(MAX_STRIDE, this.stride * (excess > 3 ? 4 : 2));
      Object.assign(this, { calm: 0, frameSeconds: FAST_FRAME }); // measured anew
    } else if (this.frameSeconds < FAST_FRAME && ++this.calm === CALM_FRAMES) {
      if (this.quality === 1 && this.stride > 1) this.stride /= 2;
      Object.assign(this, { calm: 0, quality: Math.min(1, this.quality * 1.25) });
    }
    return { quality: this.quality, stride: this.stride };
  }
}
