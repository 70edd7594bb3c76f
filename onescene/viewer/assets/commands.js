// Keys and buttons: which command each of them calls.

import { DEGREE } from "./camera.js";

// P and 1 both lead to the panorama; P leads back as well. Nothing is done before there is something to show.
export function makeCommands(viewer) {
  const { options } = viewer, command = (key, run) => ({ key, run: () => { if (viewer.layers.active) run(); } }), zoom = (factor) => viewer.setFov(viewer.camera.fov * factor, true);
  const layers = Object.fromEntries(viewer.layers.names.map((name, k) => [`layer${k}`, command(`Digit${k + 1}`, () => viewer.show(name))]));
  return {
    play: command("Space", () => viewer.travel.play(!viewer.travel.playing)),
    back: command("Comma", () => viewer.travel.step(-1)),
    ahead: command("Period", () => viewer.travel.step(1)),
    recentre: command("KeyR", () => viewer.recentre()),
    orbit: command("KeyF", () => viewer.toggleOrbit()),
    panorama: options.panorama && command("KeyP", () => viewer.show(viewer.layers.shown === "panorama" ? viewer.layers.before ?? "scene" : "panorama")),
    cameras: viewer.marks.cameras.length > 0 && command("KeyV", () => viewer.toggleCameras()),
    keep: command("KeyK", () => viewer.travel.keyframes.add()),
    keys: command("KeyL", () => viewer.toggleKeys()),
    settings: command("KeyT", () => viewer.overlay.toggleSettings()),
    copy: command("KeyC", () => viewer.copyCamera()),
    remote: options.ask && command("KeyN", () => viewer.toggleRemote()),
    fullscreen: document.fullscreenEnabled && command("KeyX", () => viewer.fullscreen()),
    help: command("KeyH", () => viewer.overlay.toggleHelp()),
    close: command("Escape", () => viewer.overlay.toggleHelp(false)),
    info: command("KeyI", () => { viewer.overlay.toggleInfo(); viewer.showInfo(); }),
    slower: command("Minus", () => viewer.setSpeed(viewer.controls.speed / Math.SQRT2)),
    faster: command("Equal", () => viewer.setSpeed(viewer.controls.speed * Math.SQRT2)),
    narrower: command("BracketLeft", () => zoom(1 / 1.1)),
    wider: command("BracketRight", () => zoom(1.1)),
    ...layers,
    show: (name) => { if (viewer.layers.active) viewer.show(name); },
    setSpeed: (value) => viewer.setSpeed(value),
    setFov: (degrees) => viewer.setFov(degrees * DEGREE),
    startFov: Math.round(viewer.camera.fov / DEGREE),
  };
}

// Hears keys until viewer.events is aborted.
export function listen(viewer) {
  const { root, drawing: { canvas } } = viewer, commands = Object.values(viewer.commands).filter((command) => command?.key);
  viewer.events = new AbortController();
  const { signal } = viewer.events;
  root.addEventListener("keydown", (event) => {
    const { target, code } = event;
    if (target instanceof HTMLInputElement && (target.type === "number" || code.startsWith("Arrow"))) return;
    if (target instanceof HTMLTextAreaElement) return;
    if ((target instanceof HTMLButtonElement || target.type === "checkbox") && ["Space", "Enter"].includes(code)) return;
    const command = commands.find(({ key }) => key === code), plain = !(event.ctrlKey || event.metaKey || event.altKey);
    if (command && plain && !event.repeat) command.run();
    if (viewer.controls.key(event, true) || (command && plain)) event.preventDefault();
  }, { signal });
  window.addEventListener("keyup", (event) => viewer.controls.key(event, false), { signal });
  window.addEventListener("blur", () => viewer.controls.release(), { signal });
  root.addEventListener("click", (event) => { // a button that was clicked gives the keys back
    const button = event.detail > 0 && event.target.closest("button");
    if (button && !button.closest("dialog")) root.focus({ preventScroll: true });
  }, { signal });
  canvas.addEventListener("pointerdown", () => root.focus({ preventScroll: true }), { signal });
  canvas.addEventListener("webglcontextlost", () => viewer.overlay.fail(
    "The graphics card dropped the picture. Reload to see the scene again."), { signal });
  if (viewer.options.wholePage) root.focus({ preventScroll: true });
}
