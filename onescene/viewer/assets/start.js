// Two ways in: a page of its own, and a notebook widget. Both run the same viewer; window.onescene is for tests.

import { SceneViewer } from "./scene.js";

// ---- the page: one scene that fills it
export function startScene(root) {
  const read = (id) => document.getElementById(id);
  const viewer = new SceneViewer(root, {
    meta: JSON.parse(read("meta").textContent),
    panorama: read("panorama")?.textContent,
    sheet: read("sheet")?.textContent,
    chunk: async (k, layer) => {
      if (document.readyState === "loading") {
        await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
      }
      const element = read(`${layer}-${k}`), text = element.textContent;
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
    snapshot: () => viewer.drawing.snapshot(),
    viewer,
  };
}

// ---- the notebook widget (anywidget): data, camera, keyframes and path are traits of a Python object
export function renderWidget({ model, el }) {
  let viewer = null;
  const told = { camera: "", keyframes: "" };
  const root = el.appendChild(document.createElement("div"));
  const tell = (name, value) => {
    told[name] = JSON.stringify(value);
    model.set(name, value);
    model.save_changes();
  };
  function mount() {
    viewer?.close();
    const meta = model.get("meta"), data = model.get("data"), { panorama, sheet } = model.get("images"), sizes = meta.chunk_bytes;
    Object.assign(root.style, { height: `${meta.height_px}px`, borderRadius: "8px" });
    viewer = new SceneViewer(root, {
      meta, panorama, sheet,
      chunk: async (k, layer) => { // those of the scene come first
        const before = [...(layer === "scene" ? [] : sizes.scene), ...sizes[layer].slice(0, k)];
        const first = before.reduce((sum, size) => sum + size, 0);
        return new Uint8Array(data.buffer, data.byteOffset + first, sizes[layer][k]).slice();
      },
      onCamera: (json) => tell("camera", json),
      onKeyframes: (json) => tell("keyframes", json),
      ask: (camera, resting) => model.send({ kind: "render", camera, resting, layer: viewer.layers.shown }),
    });
    followPath();
    followKeyframes();
  }
  const followCamera = () => {
    const json = model.get("camera");
    if (json.frames && JSON.stringify(json) !== told.camera) viewer.setCamera(json);
  };
  const followKeyframes = () => {
    const json = model.get("keyframes");
    if (!json?.frames || JSON.stringify(json) === told.keyframes) return;
    told.keyframes = JSON.stringify(json);
    viewer.travel.keyframes.load(json);
  };
  const followPath = () => viewer.travel.setPath(model.get("path")?.frames ? model.get("path") : null);
  const receive = (message, buffers) => {
    if (message.kind === "picture") viewer.remote.show(buffers[0], message.resting);
  };
  const handlers = {
    "change:data": mount, "change:camera": followCamera, "change:keyframes": followKeyframes, "change:path": followPath,
    "msg:custom": receive,
  };
  mount();
  for (const [name, handler] of Object.entries(handlers)) model.on(name, handler);
  return () => {
    for (const [name, handler] of Object.entries(handlers)) model.off(name, handler);
    viewer.close();
  };
}
