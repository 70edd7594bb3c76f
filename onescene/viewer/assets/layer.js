// One set of Gaussians on the graphics card: its chunks, and their order for the camera as it stands.

import { Sorter } from "./sorter.js";
import { SplatRenderer } from "./splats.js";

const SEEN_WIDER = 0.25; // radians to each side: room to turn until the next round of sorting
const GROWTH = 1.5; // while it loads, it is sorted and drawn again each time that so many more chunks are there

export class SplatLayer {
  // meta {count, chunks}; chunk(k) -> base64 text or bytes; hooks: view() -> {view, stride}, sorted(layer), failed(error).
  constructor(meta, chunk, hooks) {
    Object.assign(this, { meta, chunk, hooks, loaded: false, sorter: new Sorter() });
  }

  // Unpacks the first chunk ahead of time.
  begin() {
    this.first ??= (async () => {
      await this.sorter.call("start", { count: this.meta.count });
      return this.unpacked(0);
    })();
    return this.first;
  }

  async unpacked(index) { return this.sorter.call("chunk", { index, data: await this.chunk(index) }); }

  // Puts everything on the graphics card, once; told(share) is called after each chunk.
  load(gl, program, told) { return (this.loading ??= this.fill(gl, program, told)); }

  async fill(gl, program, told) {
    const { count, chunks } = this.meta;
    this.renderer = new SplatRenderer(gl, program, count);
    told(0);
    for (let k = 0, next = 1; k < chunks; k++) { // the page stays alive: the worker does the work
      this.renderer.addChunk(k, await (k ? this.unpacked(k) : this.begin()));
      told((k + 1) / chunks);
      if (k + 1 < next) continue;
      next = GROWTH * (k + 1);
      this.sort();
    }
    await this.sort();
    this.loaded = true;
  }

  // While the worker is busy, calls are joined into one more round.
  sort() {
    this.stale = true;
    this.sorting ??= this.sortUntilFresh().catch((error) => this.hooks.failed(error))
      .finally(() => { this.sorting = null; });
    return this.sorting;
  }

  async sortUntilFresh() {
    const widen = (slope) => Math.tan(Math.min(1.5, Math.atan(slope) + SEEN_WIDER));
    while (this.stale) {
      this.stale = false;
      const { view, stride } = this.hooks.view();
      const message = { view: { ...view, slopes: view.slopes.map(widen) }, stride };
      this.renderer.setOrder(await this.sorter.call("sort", message));
      this.hooks.sorted(this);
    }
  }

  // Depth of what lies in the middle of a view [world units]; null where nothing does.
  focus(view) { return this.sorter.call("focus", { view }); }

  draw(view) { this.renderer.draw(view); }

  close() { this.sorter.close(); }
}
