// The scene viewer: loads the chunks, turns input into pictures, and tells others about the camera.

import { Camera, Controls, Path, distanceBetween, statesFromJSON } from "./camera.js";
import { PanoramaPass, loadImage } from "./panorama.js";
import { Sorter } from "./sorter.js";
import { SplatRenderer } from "./splats.js";
import { Overlay } from "./overlay.js";
import { Pace } from "./pace.js";

const NEAR = 0.025; // of the scene's radius: Gaussians fade out between three times this and this depth
const MAX_PIXELS = 4e6;
const LEAVING = 0.8; // of the scene's radius: farther than this from every known camera the picture gets thin

export class SceneViewer {
  // options: meta {count, chunks, radius, title, start, path}, chunk(k) -> base64 text or bytes, panorama (an image's
  // URL), onCamera(json).
  constructor(root, options) {
    Object.assign(this, { root, meta: options.meta, options, ready: false, drawn: "", dirty: true, running: false });
    Object.assign(this, { pace: new Pace(), stride: 1, playing: false, time: 0, panoramaMix: 0, panoramaOn: false });
    root.classList.add("onescene");
    root.tabIndex = 0;
    root.dataset.lmSuppressShortcuts = "true"; // JupyterLab leaves the keys to us
    this.canvas = root.appendChild(document.createElement("canvas"));
    const { start, path } = this.meta, states = path ? statesFromJSON(path) : [];
    this.camera = new Camera();
    this.start = start ? statesFromJSON(start)[0] : this.camera.state();
    this.camera.assign(this.start);
    this.path = states.length > 1 ? new Path(states) : null;
    this.known = [this.start, ...states].map((state) => state.position);
    this.controls = new Controls(this.canvas, this.camera, this.meta.radius, {
      touched: () => { this.play(false); this.wake(); },
      wantsWheel: () => options.wholePage || (document.hasFocus() && root.contains(document.activeElement)),
      speed: (value) => this.setSpeed(value),
    });
    this.commands = this.makeCommands();
    this.overlay = new Overlay(root, this.meta, this.commands);
    this.listen();
    this.load().catch((error) => {
      console.error(error);
      this.overlay.fail(error.message);
    });
  }

  // What keys and buttons do, in the order of the buttons.
  makeCommands() {
    return {
      play: this.path && { key: "Space", run: () => this.play(!this.playing) },
      recentre: { key: "KeyR", run: () => this.recentre() },
      orbit: { key: "KeyF", run: () => this.toggleOrbit() },
      panorama: this.options.panorama && { key: "KeyP", run: () => this.togglePanorama() },
      settings: { key: "KeyT", run: () => this.overlay.toggleSettings() },
      copy: { key: "KeyC", run: () => this.copyCamera() },
      fullscreen: document.fullscreenEnabled && { key: "KeyX", run: () => this.fullscreen() },
      help: { key: "KeyH", run: () => this.overlay.toggleHelp() },
      info: { key: "KeyI", run: () => { this.overlay.toggleInfo(); this.wake(); } },
      speed: { value: (value) => this.setSpeed(value) },
      fov: {
        start: Math.round(this.camera.fov * 180 / Math.PI),
        value: (degrees) => { this.camera.fov = degrees * Math.PI / 180; this.wake(); },
      },
    };
  }

  async load() {
    const wanted = { alpha: false, antialias: false, depth: false, powerPreference: "high-performance" };
    const gl = this.canvas.getContext("webgl2", wanted);
    if (!gl) {
      throw new Error("This browser offers no WebGL2, which drawing the scene needs. A current Firefox, Chrome, Edge " +
        "or Safari has it; check that hardware acceleration is switched on.");
    }
    if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old to unpack the scene.");
    this.gl = gl;
    this.renderer = new SplatRenderer(gl, this.meta.count);
    this.sorter = new Sorter();
    await this.sorter.call("start", { count: this.meta.count });
    new ResizeObserver(() => this.wake()).observe(this.canvas);
    for (let k = 0; k < this.meta.chunks; k++) { // the page stays alive: the worker does the work
      const data = await this.options.chunk(k);
      this.renderer.addChunk(k, await this.sorter.call("chunk", { index: k, data }));
      this.overlay.progress((k + 1) / this.meta.chunks);
      this.sort();
      this.wake();
    }
    if (this.options.panorama) this.panorama = new PanoramaPass(gl, await loadImage(this.options.panorama));
    await this.render();
    this.ready = true;
    this.report();
  }

  listen() {
    const { root, canvas } = this, commands = Object.values(this.commands).filter(Boolean);
    this.events = new AbortController();
    const { signal } = this.events;
    root.addEventListener("keydown", (event) => {
      if (event.target instanceof HTMLInputElement && event.code.startsWith("Arrow")) return;
      if (event.target instanceof HTMLButtonElement && ["Space", "Enter"].includes(event.code)) return;
      const command = commands.find(({ key }) => key === event.code);
      const plain = !(event.ctrlKey || event.metaKey || event.altKey);
      if (command && plain && !event.repeat) command.run();
      if (this.controls.key(event, true) || (command && plain)) event.preventDefault();
    }, { signal });
    window.addEventListener("keyup", (event) => this.controls.key(event, false), { signal });
    window.addEventListener("blur", () => this.controls.release(), { signal });
    canvas.addEventListener("pointerdown", () => root.focus({ preventScroll: true }), { signal });
    canvas.addEventListener("webglcontextlost", () => this.overlay.fail(
      "The graphics card dropped the picture. Reload to see the scene again."), { signal });
    if (this.options.wholePage) root.focus({ preventScroll: true });
  }

  // ---- what the person asks for
  play(on) {
    if (!this.path || on === this.playing) return;
    this.playing = on;
    this.controls.halt();
    if (on) this.controls.flyTo(this.path.at(this.time), 0.5);
    this.overlay.mark("play", on);
    this.overlay.mark("orbit", false);
    this.wake();
  }

  recentre() {
    this.play(false);
    this.time = 0;
    this.controls.flyTo(this.start);
    this.overlay.mark("orbit", false);
    this.wake();
  }

  async toggleOrbit() {
    this.play(false);
    const walking = this.controls.mode === "walk";
    const depth = walking && await this.sorter.call("focus", { view: this.view() });
    this.controls.orbit(walking ? depth || this.meta.radius : null);
    this.overlay.mark("orbit", walking);
    this.overlay.hint(walking ? "Orbit: drag turns around what is in the middle" : "Walk: drag looks around");
  }

  togglePanorama() {
    this.panoramaOn = !this.panoramaOn;
    this.overlay.mark("panorama", this.panoramaOn);
    this.wake();
  }

  async copyCamera() {
    const text = JSON.stringify(this.cameraJSON(), null, 1);
    try {
      await navigator.clipboard.writeText(text);
      this.overlay.hint("Camera copied, as a transforms.json");
    } catch {
      this.overlay.showText(text); // no right to the clipboard: to be selected by hand
    }
  }

  fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen(); else this.root.requestFullscreen();
  }

  setSpeed(value) {
    this.controls.speed = Math.min(8, Math.max(0.125, value));
    this.overlay.setSpeed(this.controls.speed);
  }

  // ---- the camera, as others see it
  cameraJSON() {
    return this.camera.toJSON(Math.max(1, this.canvas.clientWidth), Math.max(1, this.canvas.clientHeight));
  }

  setCamera(json) {
    this.play(false);
    this.controls.halt();
    this.overlay.mark("orbit", false);
    this.camera.assign(statesFromJSON(json)[0]);
    this.wake();
  }

  report() { this.options.onCamera?.(this.cameraJSON()); }

  // ---- drawing
  view() {
    const { right, down, forward } = this.camera.axes(), { width, height } = this.canvas;
    const focal = this.camera.focal(width, height), slopes = [width / (2 * focal), height / (2 * focal)];
    return {
      eye: this.camera.position, camFromWorld: [...right, ...down, ...forward], focal: [focal, focal],
      near: NEAR * this.meta.radius, slopes, axes: { right, down, forward },
    };
  }

  // Fits the drawing buffer to the element: at most two pixels per CSS pixel, fewer while moving on a slow machine.
  resize(quality) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const most = Math.sqrt(MAX_PIXELS / Math.max(1, width * height));
    const ratio = quality * Math.min(window.devicePixelRatio || 1, 2, most);
    const size = [width, height].map((side) => Math.max(1, Math.round(side * ratio)));
    if (this.canvas.width === size[0] && this.canvas.height === size[1]) return;
    [this.canvas.width, this.canvas.height] = size;
    this.dirty = true;
  }

  // Sorts for the camera as it stands; while the worker is busy, calls are joined into one more round.
  sort() {
    this.stale = true;
    this.sorting ??= this.sortUntilFresh().catch((error) => this.overlay.fail(error.message))
      .finally(() => { this.sorting = null; });
    return this.sorting;
  }

  async sortUntilFresh() {
    const widen = (slope) => Math.tan(Math.min(1.5, Math.atan(slope) + 0.25)); // room to turn until the next round
    while (this.stale) {
      this.stale = false;
      const view = this.view();
      const message = { view: { ...view, slopes: view.slopes.map(widen) }, stride: this.stride };
      this.renderer.setOrder(await this.sorter.call("sort", message));
      this.dirty = true;
      this.wake();
    }
  }

  draw() {
    const view = this.view();
    if (this.panoramaMix < 1) this.renderer.draw(view);
    if (this.panoramaMix > 0) this.panorama?.draw(view.axes, view.slopes, this.panoramaMix);
    this.dirty = false;
  }

  // Sorts for the camera as it stands and draws; resolves when that is on the canvas.
  async render() {
    this.stride = 1;
    this.resize(1);
    await this.sort();
    this.draw();
  }

  async snapshot() {
    await this.render();
    return this.canvas.toDataURL("image/png"); // in the same task as draw(): the buffer is still there
  }

  wake() {
    if (this.running) return;
    this.running = true;
    this.last = null; // a pause is no movement
    requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.running = false;
    if (this.closed || !this.renderer) return;
    const passed = this.last === null ? 1 / 60 : (now - this.last) / 1000;
    if (this.drew && this.last !== null) this.pace.measure(passed);
    const moving = this.move(Math.min(0.3, passed));
    const { quality, stride } = this.pace.next(moving);
    this.stride = stride;
    this.resize(quality);
    const key = JSON.stringify([this.camera, this.canvas.clientWidth, this.canvas.clientHeight, this.stride]);
    if (key !== this.drawn) {
      this.drawn = key;
      this.dirty = true;
      this.sort();
      this.follow();
      this.overlay.setFov(Math.round(this.camera.fov * 180 / Math.PI));
    }
    this.drew = this.dirty;
    if (this.dirty) this.draw();
    if (moving) {
      this.wake();
      this.last = now;
    }
    this.overlay.info(() => [`${(1 / this.pace.frameSeconds).toFixed(0)} frames/s`,
      `${this.renderer.visible.toLocaleString()} of ${this.meta.count.toLocaleString()} Gaussians in view`,
      `at ${this.camera.position.map((value) => value.toFixed(2)).join(", ")}`]);
  }

  // Moves everything on by some seconds; true while there is more to come.
  move(seconds) {
    let moving = this.controls.update(seconds) || this.controls.pointers.size > 0;
    if (this.playing) {
      moving = true;
      if (!this.controls.flight) this.camera.assign(this.path.at(this.time += seconds * this.controls.speed));
    }
    const mix = this.panoramaOn && this.panorama ? 1 : 0, step = seconds / 0.25;
    if (mix !== this.panoramaMix) {
      this.panoramaMix += Math.min(step, Math.max(-step, mix - this.panoramaMix));
      this.dirty = moving = true;
    }
    return moving;
  }

  // Tells listeners about a new camera, at most ten times a second, and the person when the scene ends.
  follow() {
    this.reporting ??= setTimeout(() => { this.reporting = null; this.report(); }, 100);
    const away = Math.min(...this.known.map((point) => distanceBetween(point, this.camera.position)));
    const left = away > LEAVING * this.meta.radius;
    if (left && !this.left) this.overlay.hint("The photo shows less from here. R brings you back.");
    this.left = left;
  }

  close() {
    this.closed = true;
    this.events.abort();
    this.sorter?.close();
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.root.replaceChildren();
  }
}
