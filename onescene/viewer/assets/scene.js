// The scene viewer: what is shown, what the person asks for, and what others hear of the camera.

import { Camera, Controls, DEGREE, distanceBetween, statesFromJSON } from "./camera.js";
import { listen, makeCommands } from "./commands.js";
import { FrustaPass } from "./frusta.js";
import { SplatLayer } from "./layer.js";
import { Marks } from "./marks.js";
import { Overlay } from "./overlay.js";
import { Pace } from "./pace.js";
import { PanoramaPass, loadImage } from "./panorama.js";
import { Remote } from "./remote.js";
import { Travel } from "./travel.js";

const NEAR = 0.025; // of the scene's radius: Gaussians fade out between three times this and this depth
const MAX_PIXELS = 4e6;
const LEAVING = 0.8; // of the scene's radius: farther than this from every known camera the picture gets thin
const FOV_LIMITS = [25 * DEGREE, 110 * DEGREE];

export class SceneViewer {
  // options: meta {count, chunks, radius, title, start, path, scaffold {count, chunks}, sheet {indices, columns}},
  // chunk(k, layer) -> base64 text or bytes, panorama and sheet (URLs of images), onCamera(json), onKeyframes(json),
  // ask(json, resting) for a picture rendered elsewhere, wholePage.
  constructor(root, options) {
    Object.assign(this, { root, meta: options.meta, options, ready: false, drawn: "", dirty: true, running: false });
    Object.assign(this, { pace: new Pace(), stride: 1, panoramaMix: 0, shown: "scene" });
    root.classList.add("onescene");
    root.tabIndex = 0;
    root.dataset.lmSuppressShortcuts = "true"; // JupyterLab leaves the keys to us
    this.canvas = root.appendChild(document.createElement("canvas"));
    const states = this.takeMeta();
    this.controls = new Controls(this.canvas, this.camera, this.meta.radius, {
      touched: () => { this.travel.play(false); this.wake(); },
      clicked: (x, y) => this.click(x, y),
      hovered: (x, y) => this.hover(x, y),
      wantsWheel: () => options.wholePage || (document.hasFocus() && root.contains(document.activeElement)),
      speed: (value) => this.setSpeed(value),
    });
    this.commands = makeCommands(this);
    this.overlay = new Overlay(root, this.meta, this.commands, this.layerNames);
    this.travel = new Travel(this, states);
    if (options.ask) this.remote = new Remote(root, options.ask, () => this.showInfo());
    this.overlay.markLayer(this.shown);
    listen(this);
    this.load().catch((error) => this.fail(error));
  }

  // Puts everything where it starts; returns the cameras that came with the scene.
  takeMeta() {
    const { start, path, radius, scaffold, sheet } = this.meta, states = path ? statesFromJSON(path) : [];
    this.camera = new Camera();
    this.start = start ? statesFromJSON(start)[0] : this.camera.state();
    this.camera.assign(this.start);
    this.known = [this.start, ...states].map((state) => state.position);
    this.marks = new Marks(states, sheet?.indices, radius);
    this.layerNames = ["panorama", "scaffold", "scene"].filter((name) =>
      ({ panorama: this.options.panorama, scaffold, scene: true })[name]);
    return states;
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
    this.layers = { scene: this.makeLayer("scene", this.meta) };
    this.layer = this.layers.scene;
    this.pass = new FrustaPass(gl);
    new ResizeObserver(() => this.wake()).observe(this.canvas);
    await this.layer.load((share) => this.overlay.progress(share));
    const { panorama, sheet } = this.options;
    if (panorama) this.panorama = new PanoramaPass(gl, await loadImage(panorama));
    if (sheet) this.pass.setSheet(await loadImage(sheet), this.meta.sheet.columns, this.meta.sheet.rows);
    await this.render();
    this.ready = true;
    this.overlay.stir();
    this.report();
  }

  makeLayer(name, meta) {
    return new SplatLayer(this.gl, meta, (k) => this.options.chunk(k, name), {
      view: () => ({ view: this.view(), stride: this.stride }),
      sorted: (layer) => { if (layer === this.layer) { this.dirty = true; this.wake(); } },
      failed: (error) => this.fail(error),
    });
  }

  fail(error) {
    console.error(error);
    this.overlay.fail(error.message);
  }

  // ---- what is shown
  async show(name) {
    if (!this.layerNames.includes(name) || name === this.shown) return;
    this.before = this.shown;
    this.shown = name;
    this.overlay.markLayer(name);
    this.wake();
    if (name === "panorama") return;
    this.layers[name] ??= this.makeLayer(name, this.meta[name]);
    const layer = this.layers[name];
    if (!layer.loaded) await layer.load((share) => this.overlay.progress(share));
    await layer.sort(); // the first picture is in order
    if (this.shown !== name) return; // someone was faster
    this.layer = layer;
    this.dirty = true;
    this.wake();
  }

  toggleCameras() {
    this.marks.camerasOn = !this.marks.camerasOn;
    this.overlay.mark("cameras", this.marks.camerasOn);
    if (this.marks.camerasOn) {
      if (this.marks.isAmong(this.camera.position)) this.flyTo(this.marks.overview());
      this.overlay.hint("Click a camera to stand where it stands");
    }
    this.marksChanged();
  }

  toggleKeys(on = !this.keyframes.shown) {
    this.keyframes.toggle(on);
    this.marksChanged();
  }

  toggleRemote() {
    this.remote.toggle(this.cameraJSON());
    this.overlay.mark("remote", this.remote.on);
    this.overlay.hint(this.remote.on ? "Rendered in Python, on the processor" : "Rendered here");
    this.drawn = "";
    this.wake();
  }

  marksChanged() {
    const { marks, travel: { keyframes, path, given } } = this;
    marks.keysOn = keyframes.shown;
    marks.keys = keyframes.items.map(({ state }) => state);
    marks.way = path && (marks.camerasOn || (marks.keysOn && path !== given)) ? path.points() : null;
    this.overlay.mark("keys", keyframes.shown);
    this.dirty = true;
    this.wake();
  }

  // ---- where the person stands
  flyTo(state) {
    this.travel.play(false);
    this.controls.flyTo(state);
    this.overlay.mark("orbit", false);
    this.wake();
  }

  recentre() {
    this.flyTo(this.start);
    this.travel.rewind();
  }

  async toggleOrbit() {
    this.travel.play(false);
    const walking = this.controls.mode === "walk", depth = walking && await this.layer.focus(this.view());
    this.controls.orbit(walking ? depth || this.meta.radius : null);
    this.overlay.mark("orbit", walking);
    this.overlay.hint(walking ? "Orbit: drag turns around what is in the middle" : "Walk: drag looks around");
  }

  markAt(x, y) {
    const [w, h] = this.size();
    return this.marks.any && !this.playing ? this.marks.at(this.view(), 2 * x / w - 1, 2 * y / h - 1) : null;
  }

  click(x, y) {
    const state = this.markAt(x, y);
    if (state) this.flyTo(state);
  }

  hover(x, y) {
    const state = this.markAt(x, y);
    if (state === this.marks.hovered) return;
    this.marks.hovered = state;
    this.canvas.style.cursor = state ? "pointer" : "";
    this.dirty = true;
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

  setFov(radians, say = false) {
    this.camera.fov = Math.min(FOV_LIMITS[1], Math.max(FOV_LIMITS[0], radians));
    this.overlay.setFov(Math.round(this.camera.fov / DEGREE), say);
    this.wake();
  }

  // ---- the camera, as others see it
  get playing() { return this.travel.playing; }

  get path() { return this.travel.path; }

  get keyframes() { return this.travel.keyframes; }

  size() { return [Math.max(1, this.canvas.clientWidth), Math.max(1, this.canvas.clientHeight)]; }

  cameraJSON() { return this.camera.toJSON(...this.size()); }

  setCamera(json) {
    const [state] = statesFromJSON(json);
    this.travel.play(false);
    this.controls.halt();
    this.overlay.mark("orbit", false);
    this.camera.assign(state);
    this.wake();
  }

  report() { this.options.onCamera?.(this.cameraJSON()); }

  // ---- drawing
  get renderer() { return this.layer.renderer; }

  view() {
    const axes = this.camera.axes(), { width, height } = this.canvas, focal = this.camera.focal(width, height);
    return {
      eye: this.camera.position, camFromWorld: [...axes.right, ...axes.down, ...axes.forward], focal: [focal, focal],
      near: NEAR * this.meta.radius, slopes: [width / (2 * focal), height / (2 * focal)], axes,
    };
  }

  // Fits the drawing buffer to the element: at most two pixels per CSS pixel, fewer while moving on a slow machine.
  resize(quality) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const most = Math.sqrt(MAX_PIXELS / Math.max(1, width * height));
    this.ratio = quality * Math.min(window.devicePixelRatio || 1, 2, most);
    const size = [width, height].map((side) => Math.max(1, Math.round(side * this.ratio)));
    if (this.canvas.width === size[0] && this.canvas.height === size[1]) return;
    [this.canvas.width, this.canvas.height] = size;
    this.dirty = true;
  }

  sort() { return this.layer.sort(); }

  draw(marked = true) {
    const view = this.view();
    if (this.panoramaMix < 1) this.layer.draw(view);
    if (this.panoramaMix > 0) this.panorama?.draw(view.axes, view.slopes, this.panoramaMix);
    if (marked && !this.playing && this.marks.any) this.marks.draw(this.pass, view, this.ratio);
    this.dirty = false;
  }

  // Sorts for the camera as it stands and draws; resolves when that is on the canvas.
  async render(marked = true) {
    this.stride = 1;
    this.resize(1);
    await this.sort();
    this.draw(marked);
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
    if (this.closed || !this.layer) return;
    const passed = this.last === null ? 1 / 60 : (now - this.last) / 1000, away = this.remote?.on;
    if (this.drew && this.last !== null) this.pace.measure(passed);
    const moving = this.move(Math.min(0.3, passed)), { quality, stride } = this.pace.next(moving);
    this.stride = stride;
    if (!away) this.resize(quality);
    const key = JSON.stringify([this.camera, this.canvas.clientWidth, this.canvas.clientHeight, this.stride]);
    if (key !== this.drawn) {
      this.drawn = key;
      this.dirty = true;
      if (!away) this.sort();
      this.follow();
    }
    this.drew = this.dirty && !away;
    if (this.drew) this.draw();
    if (moving) {
      this.wake();
      this.last = now;
    }
    this.showInfo();
  }

  showInfo() {
    const { remote } = this, rate = remote?.on ? remote.rate : 1 / this.pace.frameSeconds;
    this.overlay.info(() => [`${rate.toFixed(0)} frames/s${remote?.on ? " from Python" : ""}`,
      `${this.renderer.visible.toLocaleString()} of ${this.layer.meta.count.toLocaleString()} Gaussians in view`,
      `at ${this.camera.position.map((value) => value.toFixed(2)).join(", ")}`]);
  }

  // Moves everything on by some seconds; true while there is more to come.
  move(seconds) {
    const moved = this.controls.update(seconds), travelled = this.travel.move(seconds);
    let moving = moved || travelled || this.controls.pointers.size > 0;
    const mix = this.shown === "panorama" && this.panorama ? 1 : 0, step = seconds / 0.25;
    if (mix !== this.panoramaMix) {
      this.panoramaMix += Math.min(step, Math.max(-step, mix - this.panoramaMix));
      this.dirty = moving = true;
    }
    return moving;
  }

  // Tells listeners about a new camera, at most ten times a second, and the person when the scene ends.
  follow() {
    this.overlay.setFov(Math.round(this.camera.fov / DEGREE));
    this.remote?.want(this.cameraJSON());
    this.reporting ??= setTimeout(() => { this.reporting = null; this.report(); }, 100);
    const away = Math.min(...this.known.map((point) => distanceBetween(point, this.camera.position)));
    const left = away > LEAVING * this.meta.radius;
    if (left && !this.left) this.overlay.hint("The photo shows less from here. R brings you back.");
    this.left = left;
  }

  close() {
    this.closed = true;
    this.events.abort();
    Object.values(this.layers ?? {}).forEach((layer) => layer.close());
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.root.replaceChildren();
  }
}
