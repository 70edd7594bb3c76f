// The camera: where it is, how it moves, and its form in a nerfstudio transforms.json.
//
// World axes: x right, y down, z forward; yaw 0 looks along z and grows to the right, pitch grows upward.

import { between } from "./path.js";

const PITCH_LIMIT = 1.55; // radians: short of the poles, where "up" turns over
const CLICK_PX = 5; // a pointer that moved less has clicked
export const DEGREE = Math.PI / 180;
const WALK_KEYS = {
  KeyW: [0, 0, 1], ArrowUp: [0, 0, 1], KeyS: [0, 0, -1], ArrowDown: [0, 0, -1],
  KeyD: [1, 0, 0], ArrowRight: [1, 0, 0], KeyA: [-1, 0, 0], ArrowLeft: [-1, 0, 0],
  KeyE: [0, -1, 0], KeyQ: [0, 1, 0],
};

export const add = (a, b, factor = 1) => a.map((value, k) => value + factor * b[k]);
export const distanceBetween = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const unit = (a) => a.map((value) => value / Math.hypot(...a));
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class Camera {
  constructor() {
    Object.assign(this, { position: [0, 0, 0], yaw: 0, pitch: 0, roll: 0, fov: Math.PI / 3 });
  }

  // Unit vectors of the camera in the world: right, down, forward.
  axes() {
    const { yaw, pitch, roll } = this;
    const forward = [Math.sin(yaw) * Math.cos(pitch), -Math.sin(pitch), Math.cos(yaw) * Math.cos(pitch)];
    const level = [Math.cos(yaw), 0, -Math.sin(yaw)], upright = cross(forward, level);
    const right = level.map((value, k) => Math.cos(roll) * value + Math.sin(roll) * upright[k]);
    return { right, down: cross(forward, right), forward };
  }

  look({ right, forward }) {
    this.pitch = Math.asin(clamp(-forward[1], -1, 1));
    this.yaw = Math.hypot(forward[0], forward[2]) > 1e-6 ? Math.atan2(forward[0], forward[2]) : this.yaw;
    const level = [Math.cos(this.yaw), 0, -Math.sin(this.yaw)];
    this.roll = Math.atan2(dot(right, cross(forward, level)), dot(right, level));
  }

  assign({ position, right, forward, fov }) {
    this.position = [...position];
    this.look({ right, forward });
    if (fov) this.fov = fov;
  }

  state() { return { position: [...this.position], fov: this.fov, ...this.axes() }; }

  // Focal length [pixels]: the field of view spans the shorter side, so that upright phones see enough.
  focal(width, height) { return Math.min(width, height) / (2 * Math.tan(this.fov / 2)); }

  // A transforms.json with this one camera: OpenGL axes of the camera (y up, z backward), world axes as they are.
  toJSON(width, height) {
    const { right, down, forward } = this.axes(), focal = this.focal(width, height);
    const row = (k) => [right[k], -down[k], -forward[k], this.position[k]].map((value) => +value.toFixed(6) + 0);
    return {
      camera_model: "OPENCV", fl_x: +focal.toFixed(4), fl_y: +focal.toFixed(4), cx: width / 2, cy: height / 2,
      w: width, h: height, frames: [{ transform_matrix: [row(0), row(1), row(2), [0, 0, 0, 1]] }],
    };
  }
}

// The cameras of a transforms.json as states: position, right, forward, fov (over the shorter side).
export function statesFromJSON(json) {
  if (!Array.isArray(json?.frames)) throw new Error("A camera is a transforms.json object with a list of frames.");
  return json.frames.map((frame) => {
    const m = frame.transform_matrix, column = (k) => [m[0][k], m[1][k], m[2][k]];
    const [w, h] = [frame.w ?? json.w, frame.h ?? json.h], shorter = Math.min(w, h);
    const focal = frame.fl_y ?? json.fl_y ?? frame.fl_x ?? json.fl_x;
    const state = { position: column(3), right: unit(column(0)), forward: unit(column(2).map((value) => -value)) };
    if (shorter && focal) state.fov = 2 * Math.atan(shorter / (2 * focal));
    if (w && h) state.aspect = w / h;
    if (![...state.position, ...state.right, ...state.forward].every(Number.isFinite)) {
      throw new Error("transform_matrix must hold 16 finite numbers.");
    }
    return state;
  });
}

// Mouse, touch and keys to camera movement. `hooks.touched` is told when the person takes over, `hooks.clicked` and
// `hooks.hovered` where on the element [CSS pixels].
export class Controls {
  constructor(element, camera, radius, hooks) {
    Object.assign(this, { element, camera, radius, hooks, speed: 1, mode: "walk", target: null });
    Object.assign(this, { keys: new Set(), pointers: new Map(), fast: false });
    Object.assign(this, { velocity: [0, 0, 0], glide: 0, flight: null });
    const on = (name, handler, options) => element.addEventListener(name, handler, options);
    on("pointerdown", (event) => this.press(event));
    on("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) on(name, (event) => this.lift(event));
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("contextmenu", (event) => event.preventDefault());
  }

  // True if the key moves the camera.
  key(event, down) {
    this.fast = event.shiftKey;
    if (!WALK_KEYS[event.code] || event.ctrlKey || event.metaKey || event.altKey) return false;
    if (down) this.keys.add(event.code); else this.keys.delete(event.code);
    if (down) this.takeOver();
    return true;
  }

  release() { this.keys.clear(); this.pointers.clear(); }

  takeOver() { this.flight = null; this.hooks.touched(); }

  press(event) {
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.pressed = this.pointers.size === 1 && event.button === 0 ? { way: 0 } : null;
    this.takeOver();
  }

  lift(event) {
    this.pointers.delete(event.pointerId);
    if (event.type === "pointerup" && this.pressed?.way < CLICK_PX) this.hooks.clicked(event.offsetX, event.offsetY);
    this.pressed = null;
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.hooks.hovered(event.offsetX, event.offsetY);
    const after = [event.clientX, event.clientY];
    const moved = [after[0] - before[0], after[1] - before[1]];
    if (this.pressed) this.pressed.way += Math.hypot(...moved);
    if (this.pointers.size === 1) {
      if (event.buttons & 6) this.pan(moved); // right or middle button
      else this.turn(moved);
    } else {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) + 1;
      this.advance(this.radius * Math.log(apart(after) / apart(before)));
      this.pan([moved[0] / 2, moved[1] / 2]);
    }
    this.pointers.set(event.pointerId, after);
  }

  radiansPerPixel() { return 1 / this.camera.focal(this.element.clientWidth, this.element.clientHeight); }

  // The picture follows the pointer.
  turn([dx, dy]) {
    const { camera } = this, step = this.mode === "orbit" ? 0.006 : this.radiansPerPixel();
    camera.yaw -= dx * step;
    camera.pitch = clamp(camera.pitch + dy * step, -PITCH_LIMIT, PITCH_LIMIT);
    if (this.mode === "orbit") camera.position = add(this.target.point, camera.axes().forward, -this.target.distance);
  }

  pan([dx, dy]) {
    const { right, down } = this.camera.axes();
    const step = this.radiansPerPixel() * (this.mode === "orbit" ? this.target.distance : this.radius);
    this.shift(add(right.map((value) => -dx * step * value), down, -dy * step));
  }

  shift(by) {
    this.camera.position = add(this.camera.position, by);
    if (this.target) this.target.point = add(this.target.point, by);
  }

  advance(distance) {
    if (this.mode === "orbit") {
      const { target, camera } = this;
      target.distance = Math.max(0.05 * this.radius, target.distance * Math.exp(-distance / this.radius));
      camera.position = add(target.point, camera.axes().forward, -target.distance);
    } else {
      this.camera.position = add(this.camera.position, this.camera.axes().forward, distance);
    }
  }

  wheel(event) {
    if (!this.hooks.wantsWheel()) return; // a page around us keeps scrolling until it is clicked into
    event.preventDefault();
    const lines = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? 16 : 1);
    if (event.shiftKey) return this.hooks.speed(this.speed * Math.exp(-0.002 * lines));
    this.takeOver();
    this.glide -= 0.0015 * clamp(lines, -400, 400) * this.radius * Math.sqrt(this.speed);
  }

  orbit(distance) {
    this.mode = distance ? "orbit" : "walk";
    const { position } = this.camera, { forward } = this.camera.axes();
    this.target = distance ? { point: add(position, forward, distance), distance } : null;
  }

  // Stops all movement and leaves the orbit.
  halt() {
    Object.assign(this, { velocity: [0, 0, 0], glide: 0, flight: null });
    this.orbit(null);
  }

  // Flies to a state in a moment.
  flyTo(state, seconds = 0.7) {
    this.halt();
    this.flight = { from: this.camera.state(), to: { fov: this.camera.fov, ...state }, seconds, time: 0 };
  }

  // One step of time [s]; true while the camera moves by itself or a key is held.
  update(seconds) {
    const { camera, flight } = this;
    if (flight) {
      flight.time += seconds;
      const t = Math.min(1, flight.time / flight.seconds);
      camera.assign(between(flight.from, flight.to, t * t * (3 - 2 * t)));
      if (t === 1) this.flight = null;
      return true;
    }
    const wish = [...this.keys].reduce((sum, code) => add(sum, WALK_KEYS[code]), [0, 0, 0]);
    const pace = 0.55 * this.radius * this.speed * (this.fast ? 3 : 1) / Math.max(1, Math.hypot(...wish));
    const smooth = 1 - Math.exp(-seconds / 0.1), still = 1e-3 * this.radius;
    this.velocity = this.velocity.map((value, k) => value + smooth * (pace * wish[k] - value));
    if (!this.keys.size && Math.hypot(...this.velocity) < still) this.velocity = [0, 0, 0];
    const { right, forward } = camera.axes(), [x, y, z] = this.velocity;
    this.shift(add(add(right.map((value) => value * x * seconds), forward, z * seconds), [0, 1, 0], y * seconds));
    const step = Math.abs(this.glide) < still ? this.glide : this.glide * (1 - Math.exp(-seconds / 0.08));
    if (step) this.advance(step);
    this.glide -= step;
    const levelling = camera.roll !== 0 && (this.pointers.size > 0 || this.keys.size > 0);
    if (levelling) camera.roll = Math.abs(camera.roll) < 1e-3 ? 0 : camera.roll * Math.exp(-seconds / 0.15);
    return levelling || this.keys.size > 0 || this.glide !== 0 || this.velocity.some((value) => value !== 0);
  }
}
