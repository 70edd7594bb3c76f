// Ways through states of the camera: between two of them, and along a whole trajectory.

import { add, clamp, distanceBetween, dot, unit } from "./camera.js";

// A state between two: positions and axes blended, axes made orthonormal again.
export function between(a, b, t) {
  const mix = (p, q) => p.map((value, k) => value + t * (q[k] - value));
  const forward = mix(a.forward, b.forward), opposite = Math.hypot(...forward) < 1e-3;
  const f = unit(opposite ? add(forward, a.right, 1e-3) : forward);
  let right = mix(a.right, b.right);
  right = add(right, f, -dot(right, f));
  if (Math.hypot(...right) < 1e-6) right = add(a.right, f, -dot(a.right, f));
  return {
    position: mix(a.position, b.position), forward: f, right: unit(right),
    fov: a.fov && b.fov ? a.fov + t * (b.fov - a.fov) : a.fov,
  };
}

// A trajectory: states at equal steps of time; the positions follow a Catmull-Rom spline.
export class Path {
  // loop: goes on from the last state to the first; otherwise states that end where they begin are found by looking.
  constructor(states, { loop = false, seconds = Math.max(6, states.length / 24) } = {}) {
    const first = states[0], last = states[states.length - 1];
    const steps = states.slice(1).map((state, k) => distanceBetween(state.position, states[k].position));
    const length = steps.reduce((sum, step) => sum + step, 0);
    const meets = distanceBetween(first.position, last.position) <= 2 * length / states.length &&
      dot(first.forward, last.forward) > 0.9;
    Object.assign(this, { states: loop ? [...states, first] : states, loop, closed: loop || meets, seconds });
  }

  // How much of the way is behind the camera at a time [s]: closed paths go round, open ones there and back.
  share(time) {
    const turn = time / this.seconds, phase = turn - Math.floor(turn);
    return this.closed || Math.floor(turn) % 2 === 0 ? phase : 1 - phase;
  }

  at(time) { return this.atShare(this.share(time)); }

  atShare(share) {
    const { states, loop } = this, last = states.length - 1, s = share * last;
    const k = Math.min(Math.floor(s), Math.max(0, last - 1)), t = s - k;
    const of = (i) => states[loop ? (i + last) % last : clamp(i, 0, last)];
    const [p, a, b, q] = [k - 1, k, k + 1, k + 2].map(of);
    const state = between(a, b, t);
    state.position = a.position.map((_, i) => {
      const [p0, p1, p2, p3] = [p, a, b, q].map((frame) => frame.position[i]);
      return p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)));
    });
    return state;
  }

  // Positions along the whole way, to draw it.
  points(most = 240) {
    const n = Math.min(most, 12 * (this.states.length - 1));
    return Array.from({ length: n + 1 }, (_, k) => this.atShare(k / n).position);
  }
}
