// Two ways in: a page of its own, and a notebook widget. Both run the same viewer.

import { SceneViewer } from "./scene.js";

// ---- the page: one scene that fills it, with a hook for tests
export function startPage() {
  const read = (id) => document.getElementById(id);
  const viewer = new SceneViewer(read("scene"), {
    meta: JSON.parse(read("meta").textContent),
    panorama: read("panorama")?.textContent,
    chunk: async (k) => {
      if (document.readyState === "loading") {
        await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
      }
      const element = read(`chunk-${k}`), text = element.textContent;
      element.remove(); // the text is large
      return text;
    },
    wholePage: window === window.parent,
  });
  window.onescene = {
    get ready() { return viewer.ready; },
    get count() { return viewer.meta.count; },
    get camera() { return viewer.cameraJSON(); },
    setCamera: (json) => viewer.setCamera(json),
    render: () => viewer.render(),
    snapshot: () => viewer.snapshot(),
    viewer,
  };
}

// ---- the notebook widget (anywidget): data and camera are traits of a Python object
export function renderWidget({ model, el }) {
  let viewer = null, told = "";
  const root = el.appendChild(document.createElement("div"));
  function mount() {
    viewer?.close();
    const meta = model.get("meta"), data = model.get("data");
    Object.assign(root.style, { height: `${meta.height_px}px`, borderRadius: "8px" });
    viewer = new SceneViewer(root, {
      meta,
      chunk: async (k) => {
        const first = meta.chunk_bytes.slice(0, k).reduce((sum, size) => sum + size, 0);
        return new Uint8Array(data.buffer, data.byteOffset + first, meta.chunk_bytes[k]).slice();
      },
      onCamera: (json) => {
        told = JSON.stringify(json);
        model.set("camera", json);
        model.save_changes();
      },
    });
  }
  const follow = () => {
    const json = model.get("camera");
    if (json.frames && JSON.stringify(json) !== told) viewer.setCamera(json);
  };
  mount();
  model.on("change:data", mount);
  model.on("change:camera", follow);
  return () => {
    model.off("change:data", mount);
    model.off("change:camera", follow);
    viewer.close();
  };
}
