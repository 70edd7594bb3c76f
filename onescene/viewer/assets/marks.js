// What stands in the scene beside the Gaussians: the cameras of the trajectory, the keyframes, and the way.

import { add, distanceBetween } from "./camera.js";
import { frustumLength, frustumOf, pick } from "./frusta.js";

const WHITE = [0.93, 0.95, 0.97], WARM = [0.96, 0.72, 0.38];
const AMONG = 3; // lengths of a frustum
const WAY_OPACITY = 0.75;

export class Marks {
  // states: those cameras of the trajectory that are shown; pictured: whether each has a picture in the sheet.
  constructor(states, pictured, radius) {
    Object.assign(this, { radius, camerasOn: false, keysOn: false, keys: [], way: null, hovered: null });
    this.cameras = states.map((state, k) => ({ state, picture: pictured ? k : null }));
    this.length = frustumLength(states, radius);
  }

  get any() { return this.camerasOn || (this.keysOn && this.keys.length > 0); }

  // The frusta as they are seen from an eye.
  seenFrom(eye) {
    const frusta = [], keyLength = frustumLength([], this.radius);
    if (this.camerasOn) {
      for (const { state, picture } of this.cameras) {
        frusta.push(frustumOf(state, this.length, eye, { picture, tint: WHITE, hovered: state === this.hovered }));
      }
    }
    if (this.keysOn) {
      for (const state of this.keys) {
        frusta.push(frustumOf(state, 1.5 * keyLength, eye, { picture: null, tint: WARM, hovered: state === this.hovered }));
      }
    }
    return frusta;
  }

  draw(pass, view, ratio) {
    const ways = this.way ? [{ points: this.way, tint: WARM, opacity: WAY_OPACITY }] : [];
    pass.draw(view, this.seenFrom(view.eye), ways, ratio);
  }

  // The state of the camera under a point of the picture, or null; x and y in [-1, 1], y down.
  at(view, x, y) {
    const { right, down, forward } = view.axes, [sx, sy] = view.slopes;
    const ray = add(add(forward, right, x * sx), down, y * sy);
    return pick(this.seenFrom(view.eye), view.eye, ray)?.state ?? null;
  }

  // Whether a place is so near to a camera that its picture fills the view.
  isAmong(place) {
    return this.cameras.some(({ state }) => distanceBetween(state.position, place) < AMONG * this.length);
  }

  // From where most of the cameras are seen: behind the first and above, looking at their middle.
  overview() {
    const places = this.cameras.map(({ state }) => state.position), first = this.cameras[0].state;
    const middle = places.reduce((sum, place) => add(sum, place, 1 / places.length), [0, 0, 0]);
    const reach = Math.max(...places.map((place) => Math.hypot(...add(place, middle, -1))), 4 * this.length);
    const level = [first.forward[0], 0, first.forward[2]], flat = Math.hypot(...level) || 1;
    const back = add(add(middle, level, -1.7 * reach / flat), [0, -1.1 * reach, 0]);
    const way = add(middle, back, -1), size = Math.hypot(...way), forward = way.map((value) => value / size);
    const right = [forward[2], 0, -forward[0]], wide = Math.hypot(...right);
    return { position: back, forward, right: right.map((value) => value / wide) };
  }
}
