// What is shown: the panorama, the scaffold or the scene. Each is loaded when it is first asked for.

import { SplatLayer } from "./layer.js";
import { PanoramaPass, loadImage } from "./panorama.js";
import { makeSplatProgram } from "./splats.js";

const FADE_SECONDS = 0.25; // between the panorama and the Gaussians

export class Layers {
  // meta {count, chunks, scaffold {count, chunks}}; chunk(k, layer) -> base64 text or bytes; panorama: an image's URL.
  // hooks: view() -> {view, stride}, changed(), progress(share, count), failed(error).
  constructor({ meta, chunk, panorama }, hooks) {
    Object.assign(this, { meta, chunk, panorama, hooks, shown: "scene", before: null, mix: 0, made: {}, active: null });
    const has = { panorama, scaffold: meta.scaffold, scene: true };
    this.names = ["panorama", "scaffold", "scene"].filter((name) => has[name]);
  }

  // Shows the scene; resolves when it is there as a whole.
  async start(gl) {
    this.gl = gl;
    this.get("scene").begin().catch(() => {}); // unpacks beside the compiler; load() tells what went wrong
    this.program = await makeSplatProgram(gl);
    this.active = this.get("scene");
    await this.load(this.active);
  }

  get(name) {
    const { count, chunks } = name === "scene" ? this.meta : this.meta[name];
    return (this.made[name] ??= new SplatLayer({ count, chunks }, (k) => this.chunk(k, name), {
      view: this.hooks.view,
      sorted: (layer) => { if (layer === this.active) this.hooks.changed(); },
      failed: this.hooks.failed,
    }));
  }

  load(layer) {
    return layer.load(this.gl, this.program, (share) => this.hooks.progress(share, layer.meta.count));
  }

  // Resolves when it is shown; null if it already was, is not there, or something else was asked for meanwhile.
  async show(name) {
    if (!this.names.includes(name) || name === this.shown) return null;
    Object.assign(this, { before: this.shown, shown: name });
    this.hooks.changed();
    if (name === "panorama") {
      await (this.making ??= this.makePanorama());
    } else {
      const layer = this.get(name);
      await this.load(layer);
      await layer.sort(); // the first picture is in order
      if (this.shown !== name) return null;
      this.active = layer;
    }
    this.hooks.changed();
    return name;
  }

  async makePanorama() { this.pass = await PanoramaPass.make(this.gl, await loadImage(this.panorama)); }

  // One step of time [s] of the fading; true while there is more to come.
  fade(seconds) {
    const mix = this.shown === "panorama" && this.pass ? 1 : 0, step = seconds / FADE_SECONDS;
    if (mix === this.mix) return false;
    this.mix += Math.min(step, Math.max(-step, mix - this.mix));
    return true;
  }

  draw(view) {
    if (this.mix < 1) this.active.draw(view);
    if (this.mix > 0) this.pass.draw(view.axes, view.slopes, this.mix);
  }

  close() { Object.values(this.made).forEach((layer) => layer.close()); }
}
