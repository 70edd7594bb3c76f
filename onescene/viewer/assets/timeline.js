// The bar along which the trajectory is played: a button, a slider, the time.

import { element, iconButton } from "./dom.js";

const STEPS = 1000;

export class Timeline {
  // hooks: toggle(), seek(share).
  constructor(root, hooks) {
    this.bar = element(root, "div", "os-time os-glass", { hidden: true });
    this.button = iconButton(this.bar, "play", "Move along the trajectory (space)", hooks.toggle);
    this.slider = element(this.bar, "input", "", { type: "range", min: 0, max: STEPS, step: 1, value: 0 });
    this.slider.setAttribute("aria-label", "Where on the trajectory");
    this.slider.addEventListener("input", () => hooks.seek(this.slider.value / STEPS));
    this.label = element(this.bar, "output", "");
  }

  show(path) {
    this.path = path;
    this.bar.hidden = !path;
    if (path) this.at(0);
  }

  at(share) {
    if (!this.path) return;
    const seconds = (value) => value.toFixed(1);
    this.slider.value = Math.round(share * STEPS);
    this.slider.style.setProperty("--os-share", `${100 * share}%`);
    this.label.textContent = `${seconds(share * this.path.seconds)} / ${seconds(this.path.seconds)} s`;
  }

  playing(on) {
    this.button.setAttribute("aria-pressed", String(on));
    this.button.setIcon(on ? "pause" : "play");
  }
}
