// One set of Gaussians on the graphics card: its chunks, and their order for the camera as it stands.

import { Sorter } from "./sorter.js";
import { SplatRenderer } from "./splats.js";

const SEEN_WIDER = 0.25; // radians to each side: room to turn until the next round of sorting

export class SplatLayer {
  // meta {count, chunks}; chunk(k) -> base64 text or bytes; hooks: view() -> {view, stride}, sorted(), failed(error).
  constructor(gl, meta, chunk, hooks) {
    Object.assign(this, { meta, chunk, hooks, loaded: false, renderer: new SplatRenderer(gl, meta.count) });
    this.sorter = new Sorter();
  }

  // Unpacks everything, once; told(share) is called after each chunk.
  load(told) { return (this.loading ??= this.unpack(told)); }

  async unpack(told) {
    const { count, chunks } = this.meta;
    await this.sorter.call("start", { count });
    for (let k = 0; k < chunks; k++) { // the page stays alive: the worker does the work
      const data = await this.chunk(k);
      this.renderer.addChunk(k, await this.sorter.call("chunk", { index: k, data }));
      told((k + 1) / chunks);
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
