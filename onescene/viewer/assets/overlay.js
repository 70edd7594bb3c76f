// What lies over the picture: what is shown, a row of buttons, two sliders, help, short hints.

import { byTouch, element, icon, iconButton } from "./dom.js";

const LABELS = { // the row of buttons, in this order
  recentre: "Back to the start (R)", orbit: "Walk or orbit (F)", cameras: "Cameras and their pictures (V)",
  keys: "Keyframes (L)", settings: "Speed and field of view (T)", copy: "Copy this camera as a transforms.json (C)",
  remote: "Render in Python, on the processor (N)", fullscreen: "Full screen (X)", help: "Help (H)",
};
const IDLE_MS = 6000;
const LAYERS = { panorama: "Panorama", scaffold: "Scaffold", scene: "Scene" };
const LINE = [["drag", "look"], ["W A S D", "move"], ["H", "help"]];
const LINE_TOUCH = [["one finger", "look"], ["two fingers", "move"], ["pinch", "forward"]];
const HELP = { // heading: [keys, meaning, the command it belongs to]
  Move: [["drag", "look around"], ["W A S D", "walk (or the arrows)"], ["Q E", "down, up"], ["wheel", "forward, back"],
    ["right drag", "shift"], ["shift", "three times as fast"], ["− +", "speed"], ["[ ]", "field of view"]],
  Show: [["1 2 3", "panorama, scaffold, scene", "layers"], ["P", "panorama and back", "panorama"],
    ["V", "cameras (a click flies there)", "cameras"], ["N", "rendered in Python", "remote"], ["I", "numbers"],
    ["X", "full screen", "fullscreen"]],
  Travel: [["space", "play, pause", "play"], [", .", "a step back, ahead", "play"], ["R", "back to the start"],
    ["F", "walk or orbit"], ["K", "keep this view as a keyframe"], ["L", "list of keyframes"], ["C", "copy this camera"]],
  Touch: [["one finger", "look around"], ["two fingers", "shift"], ["pinch", "forward, back"], ["tap", "fly to a camera"]],
};

export class Overlay {
  // layers: names of what can be shown.
  constructor(root, meta, commands, layers) {
    Object.assign(this, { root, buttons: {}, layerButtons: {} });
    if (meta.title) element(root, "div", "os-title", { textContent: meta.title });
    this.loading = element(root, "div", "os-loading os-glass");
    this.bar = element(this.loading, "div", "os-bar");
    this.bar.setAttribute("role", "progressbar");
    this.loadingText = element(this.loading, "span", "");
    this.hintBox = element(root, "div", "os-hint os-glass");
    this.hintBox.setAttribute("role", "status");
    this.infoBox = element(root, "div", "os-info", { hidden: true });
    this.addLayers(layers, commands);
    this.addLine();
    this.addTools(commands);
    this.addSettings(commands);
    this.addHelp(commands);
    this.watch();
  }

  // The overlay steps back when nothing happens for a while.
  watch() {
    for (const name of ["pointermove", "pointerdown", "keydown"]) this.root.addEventListener(name, () => this.stir());
    this.stir();
  }

  stir() {
    this.root.classList.remove("os-idle");
    clearTimeout(this.idle);
    this.idle = setTimeout(() => this.root.classList.add("os-idle"), IDLE_MS);
  }

  addLayers(layers, commands) {
    if (layers.length < 2) return;
    const row = element(this.root, "div", "os-layers os-glass");
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", "What is shown");
    for (const name of layers) {
      const button = element(row, "button", "", { type: "button", textContent: LAYERS[name] });
      button.addEventListener("click", () => commands.show(name));
      this.layerButtons[name] = button;
    }
  }

  addLine() {
    this.line = element(this.root, "div", "os-line");
    for (const [key, meaning] of byTouch() ? LINE_TOUCH : LINE) {
      const item = element(this.line, "span", "");
      element(item, "b", "", { textContent: key });
      item.append(` ${meaning}`);
    }
  }

  addTools(commands) {
    const row = element(this.root, "div", "os-tools os-glass");
    row.setAttribute("role", "toolbar");
    for (const [name, label] of Object.entries(LABELS)) {
      if (!commands[name]) continue;
      this.buttons[name] = iconButton(row, name, label, commands[name].run);
    }
  }

  addSettings(commands) {
    this.settings = element(this.root, "div", "os-settings os-glass", { hidden: true });
    const slider = (text, properties, show, set) => {
      const label = element(this.settings, "label", ""), head = element(label, "span", "", { textContent: text });
      const shown = element(head, "output", "");
      const input = element(label, "input", "", { type: "range", ...properties });
      const update = () => { shown.textContent = show(+input.value); };
      input.addEventListener("input", () => { set(+input.value); update(); });
      update();
      return { input, update };
    };
    this.speed = slider("Speed", { min: -3, max: 3, step: 0.1, value: 0 },
      (value) => `${(2 ** value).toFixed(2)}×`, (value) => commands.setSpeed(2 ** value));
    this.fov = slider("Field of view", { min: 25, max: 110, step: 1, value: commands.startFov },
      (value) => `${value}°`, (value) => commands.setFov(value));
  }

  addHelp(commands) {
    const layers = Object.keys(this.layerButtons), has = (name) => !name || (name === "layers" ? layers.length : commands[name]);
    this.help = element(this.root, "div", "os-help os-glass", { hidden: true });
    this.help.setAttribute("role", "dialog");
    this.help.setAttribute("aria-label", "Help");
    iconButton(this.help, "remove", "Close (H)", () => this.toggleHelp());
    const section = (heading, rows) => {
      const part = element(this.help, "section", "");
      element(part, "h2", "", { textContent: heading });
      const list = element(part, "dl", "");
      for (const [term, meaning] of rows) {
        list.append(term);
        element(list, "dd", "", { textContent: meaning });
      }
    };
    const term = (properties) => Object.assign(document.createElement("dt"), properties);
    for (const [heading, rows] of Object.entries(HELP)) {
      if (byTouch() && heading !== "Touch") continue; // no keys: the buttons are named instead
      section(heading, rows.filter(([, , name]) => has(name)).map(([keys, meaning]) => [term({ textContent: keys }), meaning]));
    }
    if (byTouch()) {
      section("Buttons", Object.keys(this.buttons).map((name) =>
        [term({ innerHTML: icon(name) }), LABELS[name].replace(/ \(.\)$/, "")]));
    }
  }

  setSpeed(speed) {
    this.speed.input.value = Math.log2(speed);
    this.speed.update();
    if (this.settings.hidden) this.hint(`Speed ${speed.toFixed(2)}×`);
  }

  setFov(degrees, say = false) {
    this.fov.input.value = degrees;
    this.fov.update();
    if (say && this.settings.hidden) this.hint(`Field of view ${degrees}°`);
  }

  toggleSettings() {
    this.settings.hidden = !this.settings.hidden;
    this.mark("settings", !this.settings.hidden);
  }

  toggleHelp(on = this.help.hidden) {
    this.help.hidden = !on;
    this.line.hidden = true; // whoever has found the help has read the line
    this.mark("help", on);
  }

  toggleInfo() { this.infoBox.hidden = !this.infoBox.hidden; }

  info(lines) { if (!this.infoBox.hidden) this.infoBox.textContent = lines().join("\n"); }

  mark(name, on) { this.buttons[name]?.setAttribute("aria-pressed", String(on)); }

  markLayer(shown) {
    for (const [name, button] of Object.entries(this.layerButtons)) button.setAttribute("aria-pressed", String(name === shown));
  }

  // How much of so many Gaussians is there.
  progress(share, count) {
    const percent = Math.round(100 * share);
    this.bar.style.transform = `scaleX(${share})`;
    this.bar.setAttribute("aria-valuenow", String(percent));
    this.loadingText.textContent = `Unpacking ${count.toLocaleString("en")} Gaussians: ${percent} %`;
    this.loading.classList.toggle("os-done", share >= 1);
  }

  hint(text) {
    this.hintBox.textContent = text;
    this.hintBox.classList.add("os-shown");
    clearTimeout(this.hintTimer);
    this.hintTimer = setTimeout(() => this.hintBox.classList.remove("os-shown"), 3500);
  }

  // Text to be copied by hand.
  showText(text) {
    const dialog = element(this.root, "dialog", "os-dialog");
    element(dialog, "textarea", "", { value: text, readOnly: true, rows: 16, cols: 56 }).select();
    const close = element(dialog, "button", "os-text", { textContent: "Close", type: "button" });
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
    dialog.querySelector("textarea").select();
  }

  fail(text) {
    this.loading.classList.add("os-done");
    element(this.root, "div", "os-message", { textContent: text }).setAttribute("role", "alert");
  }
}
