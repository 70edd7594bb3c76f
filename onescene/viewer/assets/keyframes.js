// Keyframes: cameras that the person has set, in their order, and the panel that lists them.

import { Camera, statesFromJSON } from "./camera.js";
import { element, iconButton } from "./dom.js";

const SECONDS_PER_KEY = 2.5; // between two keyframes when they are played
const FRAMES = 48; // of the trajectory made from them, unless the person says otherwise
const MOST_FRAMES = 10000; // seven minutes of film

export class Keyframes {
  // hooks: take() -> promise of {state, picture (a small image's URL)}, go(state), changed(), path() (what they give),
  // size() (width and height of a picture), closed(), say(text).
  constructor(root, hooks) {
    Object.assign(this, { hooks, items: [], settings: { frames: FRAMES, closed: false } });
    this.panel = element(root, "section", "os-keys os-glass", { hidden: true });
    this.panel.setAttribute("aria-label", "Keyframes");
    const head = element(this.panel, "header", "");
    this.title = element(head, "h2", "", { textContent: "Keyframes" });
    const tools = element(head, "div", "");
    iconButton(tools, "keys", "Keep this view (K)", () => this.add());
    iconButton(tools, "remove", "Close the list (L)", hooks.closed);
    this.empty = element(this.panel, "p", "", { textContent: "Press K to keep the view as a keyframe." });
    this.list = element(this.panel, "ol", "");
    this.addSettings();
    this.addFiles();
  }

  addSettings() {
    const row = element(this.panel, "div", "os-row");
    const label = (text) => element(row, "label", "", { textContent: text });
    this.frames = element(label("Frames "), "input", "", { type: "number", min: 2, max: MOST_FRAMES, value: FRAMES });
    this.frames.addEventListener("change", () => this.set({ frames: allowed(this.frames.valueAsNumber || FRAMES) }));
    this.closed = element(label("Loop "), "input", "", { type: "checkbox" });
    this.closed.addEventListener("change", () => this.set({ closed: this.closed.checked }));
  }

  addFiles() {
    const row = element(this.panel, "div", "os-row"), button = (text, run) => {
      const made = element(row, "button", "os-text", { type: "button", textContent: text });
      made.addEventListener("click", run);
      return made;
    };
    this.input = element(row, "input", "", { type: "file", accept: ".json,application/json", hidden: true });
    this.input.addEventListener("change", () => this.open(this.input.files[0]));
    button("Load", () => this.input.click()).title = "Keyframes or a transforms.json";
    this.saveButtons = [
      button("Save keys", () => save("keyframes.json", this.toJSON())),
      button("Save path", () => save("transforms.json", this.pathJSON())),
    ];
    this.show();
  }

  toggle(on) { this.panel.hidden = !on; }

  get shown() { return !this.panel.hidden; }

  async add() {
    this.items.push(await this.hooks.take());
    this.toggle(true);
    this.change();
    this.list.scrollTop = this.list.scrollHeight;
  }

  remove(index) {
    this.items.splice(index, 1);
    this.change();
  }

  // Moves a keyframe by some places, within the list.
  move(index, by) {
    const to = Math.min(this.items.length - 1, Math.max(0, index + by));
    this.items.splice(to, 0, ...this.items.splice(index, 1));
    this.change();
  }

  set(settings) {
    Object.assign(this.settings, settings);
    this.change();
  }

  change() {
    this.show();
    this.hooks.changed();
  }

  show() {
    const { frames, closed } = this.settings, n = this.items.length;
    this.title.textContent = n ? `Keyframes · ${n}` : "Keyframes";
    this.empty.hidden = n > 0;
    this.frames.value = frames;
    this.closed.checked = closed;
    this.saveButtons.forEach((button, k) => { button.disabled = n <= k; }); // a path needs two
    this.list.replaceChildren(...this.items.map((item, k) => this.card(item, k)));
  }

  card({ state, picture }, k) {
    const card = document.createElement("li"), go = element(card, "button", "os-card-view", { type: "button" });
    go.setAttribute("aria-label", `Fly to keyframe ${k + 1}`);
    if (picture) element(go, "img", "", { src: picture, alt: "" });
    element(go, "b", "", { textContent: k + 1 });
    go.addEventListener("click", () => this.hooks.go(state));
    const tools = element(card, "div", "");
    iconButton(tools, "up", "Earlier", () => this.move(k, -1)).disabled = k === 0;
    iconButton(tools, "down", "Later", () => this.move(k, 1)).disabled = k === this.items.length - 1;
    iconButton(tools, "remove", "Remove", () => this.remove(k));
    return card;
  }

  // How the keyframes are played: null for fewer than two.
  timing() {
    const { closed } = this.settings, n = this.items.length;
    if (n < 2) return null;
    const loop = closed && n > 2; // two of them go there and back anyway
    return { states: this.items.map(({ state }) => state), loop, seconds: SECONDS_PER_KEY * (loop ? n : n - 1) };
  }

  // A transforms.json with one frame per keyframe and how a trajectory is made from them.
  toJSON() {
    const { frames, ...head } = jsonOfStates(this.items.map(({ state }) => state), this.hooks.size());
    return { ...head, keyframes: { ...this.settings }, frames };
  }

  // The way through them as a transforms.json with as many frames as are set, at equal steps of time.
  pathJSON() {
    const path = this.hooks.path(), n = this.settings.frames, steps = path.closed ? n : Math.max(1, n - 1);
    return jsonOfStates(Array.from({ length: n }, (_, k) => path.atShare(k / steps)), this.hooks.size());
  }

  async open(file) {
    try {
      this.load(JSON.parse(await file.text()));
      this.input.value = ""; // the same file can be opened again
    } catch (error) {
      this.hooks.say(`${file.name} holds no cameras: ${error.message}`);
    }
  }

  // Replaces everything by the cameras of a transforms.json, with or without settings of keyframes.
  load(json) {
    const states = statesFromJSON(json), known = new Map(this.items.map((item) => [nameOf(item.state), item.picture]));
    this.items = states.map((state) => ({ state, picture: known.get(nameOf(state)) }));
    const { frames, closed } = json.keyframes ?? {};
    if (Number.isInteger(frames)) this.settings.frames = allowed(frames);
    if (typeof closed === "boolean") this.settings.closed = closed;
    this.change();
  }
}

const allowed = (frames) => Math.min(MOST_FRAMES, Math.max(1, Math.round(frames)));
const nameOf = (state) => [...state.position, ...state.forward].map((value) => value.toFixed(4)).join();

// States as the frames of one transforms.json; each has its own focal length.
export function jsonOfStates(states, [w, h]) {
  const camera = new Camera(), shared = { camera_model: "OPENCV", cx: w / 2, cy: h / 2, w, h };
  const frames = states.map((state) => {
    camera.assign(state);
    const { fl_x, fl_y, frames: [frame] } = camera.toJSON(w, h);
    return { fl_x, fl_y, ...frame };
  });
  return { ...shared, frames };
}

function save(name, json) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(json, null, 1)], { type: "application/json" }));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
