// The scene viewer: its parts, what the person asks of them, and what others hear of the camera.

import { Camera, Controls, DEGREE, clamp, distanceBetween, statesFromJSON } from "./camera.js";
import { listen, makeCommands } from "./commands.js";
import { byTouch } from "./dom.js";
import { Drawing } from "./drawing.js";
import { FrustaPass } from "./frusta.js";
import { Layers } from "./layers.js";
import { Marks } from "./marks.js";
import { Overlay } from "./overlay.js";
import { loadImage } from "./panorama.js";
import { Remote } from "./remote.js";
import { Travel } from "./travel.js";

const LEAVING = 0.8; // of the scene's radius: farther than this from every known camera the picture gets thin
const FOV_LIMITS = [25 * DEGREE, 110 * DEGREE];
const SPEED_LIMITS = [1 / 8, 8];
const REPORT_MS = 100; // between two cameras that listeners hear of

export class SceneViewer {
  // options: meta {count, chunks, radius, title, start, path, marked, scaffold {count, chunks}, sheet {columns, rows}},
  // chunk(k, layer) -> base64 text or bytes, panorama and sheet (URLs of images), onCamera(json), onKeyframes(json),
  // ask(json, resting) for a picture rendered elsewhere, wholePage.
  constructor(root, options) {
    const { meta, meta: { radius } } = options, given = meta.path ? statesFromJSON(meta.path) : [];
    Object.assign(this, { root, meta, options, ready: false, camera: new Camera() });
    root.classList.add("onescene");
    root.tabIndex = 0;
    root.dataset.lmSuppressShortcuts = "true"; // JupyterLab leaves the keys to us
    this.start = meta.start ? statesFromJSON(meta.start)[0] : this.camera.state();
    this.camera.assign(this.start);
    this.known = [this.start, ...given].map((state) => state.position);
    this.marks = new Marks((meta.marked ?? []).map((k) => given[k]), Boolean(options.sheet), radius);
    this.layers = new Layers(options, {
      view: () => ({ view: this.drawing.view(), stride: this.drawing.stride }),
      changed: () => this.drawing.changed(),
      progress: (share, count) => this.overlay.progress(share, count),
      failed: (error) => this.fail(error),
    });
    this.drawing = new Drawing(root, this.camera, this.layers, radius, {
      move: (seconds) => this.move(seconds), moved: () => this.follow(), drawn: () => this.showInfo(),
      away: () => this.remote?.on,
    });
    this.controls = this.makeControls();
    this.commands = makeCommands(this);
    this.overlay = new Overlay(root, meta, this.commands, this.layers.names);
    this.travel = new Travel(this, given);
    if (options.ask) this.remote = new Remote(root, options.ask, () => this.showInfo());
    this.overlay.markLayer(this.layers.shown);
    listen(this);
    this.load().catch((error) => this.fail(error));
  }

  makeControls() {
    const { root, options } = this;
    return new Controls(this.drawing.canvas, this.camera, this.meta.radius, {
      touched: () => { this.travel.play(false); this.drawing.wake(); },
      clicked: (x, y) => this.click(x, y),
      hovered: (x, y) => this.hover(x, y),
      wantsWheel: () => options.wholePage || (document.hasFocus() && root.contains(document.activeElement)),
      speed: (value) => this.setSpeed(value),
    });
  }

  async load() {
    if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old to unpack the scene.");
    this.overlay.progress(0, this.meta.count);
    await this.layers.start(this.drawing.start());
    await this.drawing.render();
    this.ready = true;
    this.drawing.changed();
    this.overlay.stir();
    this.report();
  }

  // What draws the marks: made when there are any, because the first second is short enough.
  async makePass() {
    const { sheet } = this.options, pass = await FrustaPass.make(this.drawing.gl);
    if (sheet) pass.setSheet(await loadImage(sheet), this.meta.sheet.columns, this.meta.sheet.rows);
    this.pass = pass;
    this.drawing.over = (view, ratio) => {
      if (!this.travel.playing && this.marks.any) this.marks.draw(pass, view, ratio);
    };
    this.drawing.changed();
  }

  fail(error) {
    if (this.drawing.closed) return; // whoever has left does not hear of it
    console.error(error);
    this.overlay.fail(error.message);
  }

  // ---- what is shown
  async show(name) {
    if (this.remote?.on && name === "panorama") this.toggleRemote(); // Python renders Gaussians
    const showing = this.layers.show(name);
    this.remote?.want(this.cameraJSON());
    this.overlay.markLayer(this.layers.shown);
    await showing.catch((error) => this.fail(error));
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

  toggleKeys(on = !this.travel.keyframes.shown) {
    this.travel.keyframes.toggle(on);
    this.marksChanged();
  }

  toggleRemote() {
    if (!this.remote.on && this.layers.shown === "panorama") this.show(this.layers.before ?? "scene");
    this.remote.toggle(this.cameraJSON());
    this.overlay.mark("remote", this.remote.on);
    this.overlay.hint(this.remote.on ? "Rendered in Python, on the processor" : "Rendered here");
    this.drawing.seen = ""; // to be sorted for where the camera is now
    this.drawing.wake();
  }

  marksChanged() {
    const { marks, travel: { keyframes, path, given } } = this;
    marks.keysOn = keyframes.shown;
    marks.keys = keyframes.items.map(({ state }) => state);
    marks.way = path && (marks.camerasOn || (marks.keysOn && path !== given)) ? path.points() : null;
    this.overlay.mark("keys", keyframes.shown);
    if (marks.any) this.making ??= this.makePass().catch((error) => this.fail(error));
    this.drawing.changed();
  }

  showInfo() {
    const { remote, layers: { active }, drawing: { pace } } = this;
    if (!active) return;
    const rate = remote?.on ? remote.rate : 1 / pace.frameSeconds;
    this.overlay.info(() => [`${rate.toFixed(0)} frames/s${remote?.on ? " from Python" : ""}`,
      `${active.renderer.visible.toLocaleString("en")} of ${active.meta.count.toLocaleString("en")} Gaussians in view`,
      `at ${this.camera.position.map((value) => value.toFixed(2)).join(", ")}`]);
  }

  fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen(); else this.root.requestFullscreen();
  }

  // ---- where the person stands
  flyTo(state) {
    this.travel.play(false);
    this.controls.flyTo(state);
    this.overlay.mark("orbit", false);
    this.drawing.wake();
  }

  recentre() {
    this.flyTo(this.start);
    this.travel.rewind();
  }

  async toggleOrbit() {
    this.travel.play(false);
    const walking = this.controls.mode === "walk", depth = walking && await this.layers.active.focus(this.drawing.view());
    this.controls.orbit(walking ? depth || this.meta.radius : null);
    this.overlay.mark("orbit", walking);
    this.overlay.hint(walking ? "Orbit: drag turns around what is in the middle" : "Walk: drag looks around");
  }

  markAt(x, y) {
    const [w, h] = this.drawing.size();
    return this.marks.any && !this.travel.playing ? this.marks.at(this.drawing.view(), 2 * x / w - 1, 2 * y / h - 1) : null;
  }

  click(x, y) {
    const state = this.markAt(x, y);
    if (state) this.flyTo(state);
  }

  hover(x, y) {
    const state = this.markAt(x, y);
    if (state === this.marks.hovered) return;
    this.marks.hovered = state;
    this.drawing.canvas.style.cursor = state ? "pointer" : "";
    this.drawing.changed();
  }

  setSpeed(value) {
    this.controls.speed = clamp(value, ...SPEED_LIMITS);
    this.overlay.setSpeed(this.controls.speed);
  }

  setFov(radians, say = false) {
    this.camera.fov = clamp(radians, ...FOV_LIMITS);
    this.overlay.setFov(Math.round(this.camera.fov / DEGREE), say);
    this.drawing.wake();
  }

  // Moves everything on by some seconds; true while there is more to come.
  move(seconds) {
    const moved = this.controls.update(seconds), travelled = this.travel.move(seconds), faded = this.layers.fade(seconds);
    if (faded) this.drawing.dirty = true;
    return moved || travelled || faded || this.controls.pointers.size > 0;
  }

  // ---- the camera, as others see it
  cameraJSON() { return this.camera.toJSON(...this.drawing.size()); }

  setCamera(json) {
    const [state] = statesFromJSON(json);
    this.travel.play(false);
    this.controls.halt();
    this.overlay.mark("orbit", false);
    this.camera.assign(state);
    this.drawing.wake();
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

  report() { this.options.onCamera?.(this.cameraJSON()); }

  // Tells listeners about a new camera, and the person when the scene ends.
  follow() {
    this.overlay.setFov(Math.round(this.camera.fov / DEGREE));
    this.remote?.want(this.cameraJSON());
    this.reporting ??= setTimeout(() => { this.reporting = null; this.report(); }, REPORT_MS);
    const away = Math.min(...this.known.map((point) => distanceBetween(point, this.camera.position)));
    const left = away > LEAVING * this.meta.radius;
    if (left && !this.left && !this.controls.flight) {
      this.overlay.hint(`The photo shows less from here.${byTouch() ? "" : " R brings you back."}`);
    }
    this.left = left;
  }

  close() {
    this.events.abort();
    this.layers.close();
    this.drawing.close();
    this.root.replaceChildren();
  }
}
