// What lies over the picture: progress, a row of buttons, two sliders, one line of help, short hints.

const ICONS = { // 24 x 24, stroked
  play: "<path d='M8 5l11 7-11 7z'/>",
  stop: "<path d='M8 5v14M16 5v14'/>",
  recentre: "<circle cx='12' cy='12' r='3'/><path d='M12 3v4M12 17v4M3 12h4M17 12h4'/>",
  orbit: "<circle cx='12' cy='12' r='2.5'/><ellipse cx='12' cy='12' rx='9' ry='4' transform='rotate(-25 12 12)'/>",
  panorama: "<path d='M3 6c6 2.5 12 2.5 18 0v12c-6-2.5-12-2.5-18 0z'/>",
  settings: "<path d='M4 8h9M17 8h3M4 16h3M11 16h9'/><circle cx='15' cy='8' r='2'/><circle cx='9' cy='16' r='2'/>",
  copy: "<rect x='3' y='8' width='12' height='9' rx='1.5'/><path d='M15 11l6-3v9l-6-3'/>",
  fullscreen: "<path d='M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5'/>",
};
const LABELS = {
  play: "Move along the trajectory (space)", recentre: "Back to the start (R)", orbit: "Walk or orbit (F)",
  panorama: "Show the panorama (P)", settings: "Speed and field of view (T)",
  copy: "Copy this camera as a transforms.json (C)", fullscreen: "Full screen (X)",
};
const HELP = [["drag", "look"], ["W A S D", "move"], ["Q E", "down, up"], ["shift", "faster"], ["wheel", "forward"],
  ["H", "help"]];
const HELP_TOUCH = [["one finger", "look"], ["two fingers", "move"], ["pinch", "forward"]];

function element(parent, tag, className, properties = {}) {
  return parent.appendChild(Object.assign(document.createElement(tag), { className, ...properties }));
}

export class Overlay {
  constructor(root, meta, commands) {
    this.root = root;
    this.buttons = {};
    if (meta.title) element(root, "div", "os-title", { textContent: meta.title });
    this.bar = element(root, "div", "os-bar");
    this.bar.setAttribute("role", "progressbar");
    this.hintBox = element(root, "div", "os-hint");
    this.hintBox.setAttribute("role", "status");
    this.infoBox = element(root, "div", "os-info", { hidden: true });
    this.addHelp(Boolean(commands.play));
    this.addTools(commands);
    this.addSettings(commands);
    let idle;
    const stir = () => {
      root.classList.remove("os-idle");
      clearTimeout(idle);
      idle = setTimeout(() => root.classList.add("os-idle"), 5000);
    };
    for (const name of ["pointermove", "pointerdown", "keydown"]) root.addEventListener(name, stir);
    stir();
  }

  addHelp(playable) {
    const touch = window.matchMedia("(pointer: coarse)").matches;
    const parts = touch ? HELP_TOUCH : playable ? [...HELP.slice(0, -1), ["space", "tour"], HELP.at(-1)] : HELP;
    this.help = element(this.root, "div", "os-help");
    for (const [key, meaning] of parts) {
      const item = element(this.help, "span", "");
      element(item, "b", "", { textContent: key });
      item.append(` ${meaning}`);
    }
  }

  addTools(commands) {
    const row = element(this.root, "div", "os-tools");
    row.setAttribute("role", "toolbar");
    for (const name of Object.keys(LABELS)) {
      if (!commands[name]) continue;
      const button = element(row, "button", "", { type: "button", title: LABELS[name] });
      button.setAttribute("aria-label", LABELS[name]);
      button.innerHTML = `<svg viewBox="0 0 24 24">${ICONS[name]}</svg>`;
      button.addEventListener("click", () => { commands[name].run(); this.root.focus({ preventScroll: true }); });
      this.buttons[name] = button;
    }
  }

  addSettings(commands) {
    this.settings = element(this.root, "div", "os-settings", { hidden: true });
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
      (value) => `${(2 ** value).toFixed(2)}×`, (value) => commands.speed.value(2 ** value));
    this.fov = slider("Field of view", { min: 25, max: 110, step: 1, value: commands.fov.start },
      (value) => `${value}°`, (value) => commands.fov.value(value));
  }

  setSpeed(speed) {
    this.speed.input.value = Math.log2(speed);
    this.speed.update();
    if (this.settings.hidden) this.hint(`Speed ${speed.toFixed(2)}×`);
  }

  setFov(degrees) {
    this.fov.input.value = degrees;
    this.fov.update();
  }

  toggleSettings() {
    this.settings.hidden = !this.settings.hidden;
    this.mark("settings", !this.settings.hidden);
  }

  toggleHelp() { this.root.classList.toggle("os-no-help"); }

  toggleInfo() { this.infoBox.hidden = !this.infoBox.hidden; }

  info(lines) { if (!this.infoBox.hidden) this.infoBox.textContent = lines().join("\n"); }

  mark(name, on) {
    const button = this.buttons[name];
    if (!button) return;
    button.setAttribute("aria-pressed", String(on));
    if (name === "play") button.firstChild.innerHTML = on ? ICONS.stop : ICONS.play;
  }

  progress(share) {
    this.bar.style.transform = `scaleX(${share})`;
    this.bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    if (share >= 1) this.bar.classList.add("os-done");
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
    const close = element(dialog, "button", "", { textContent: "Close", type: "button" });
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
    dialog.querySelector("textarea").select();
  }

  fail(text) {
    this.bar.classList.add("os-done");
    element(this.root, "div", "os-message", { textContent: text }).setAttribute("role", "alert");
  }
}
