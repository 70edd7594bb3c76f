// Travelling: the way that is played, where on it the camera is, and the keyframes that can make a new one.

import { Keyframes } from "./keyframes.js";
import { statesFromJSON } from "./camera.js";
import { Path } from "./path.js";
import { Timeline } from "./timeline.js";

const THUMBNAIL = [160, 100]; // pixels

export class Travel {
  // given: the states of the trajectory that came with the scene.
  constructor(viewer, given) {
    Object.assign(this, { viewer, playing: false, time: 0, sent: null, path: null });
    this.given = given.length > 1 ? new Path(given) : null;
    this.timeline = new Timeline(viewer.root, { toggle: () => this.play(!this.playing), seek: (share) => this.seek(share) });
    this.keyframes = new Keyframes(viewer.root, {
      take: () => this.takeKeyframe(),
      go: (state) => viewer.flyTo(state),
      changed: () => this.keysChanged(),
      closed: () => viewer.toggleKeys(false),
      path: () => this.path,
      size: () => viewer.drawing.size(),
      say: (text) => viewer.overlay.hint(text),
    });
    this.choosePath();
  }

  // The way that is played: one that was sent, else one through the keyframes, else the one that was given.
  choosePath() {
    const timing = this.keyframes.timing(), before = this.path;
    this.path = this.sent ?? (timing ? new Path(timing.states, timing) : this.given);
    if (this.path === before) return;
    this.play(false);
    this.time = 0;
    this.timeline.show(this.path);
  }

  // Plays other cameras from now on: a transforms.json, or null for what was there.
  setPath(json) {
    const states = json ? statesFromJSON(json) : [];
    this.sent = states.length > 1 ? new Path(states) : null;
    this.choosePath();
    this.viewer.marksChanged();
  }

  keysChanged() {
    this.choosePath();
    this.viewer.marksChanged();
    this.viewer.options.onKeyframes?.(this.keyframes.toJSON());
  }

  async takeKeyframe() {
    const { viewer } = this, picture = document.createElement("canvas"), [w, h] = THUMBNAIL;
    [picture.width, picture.height] = THUMBNAIL;
    await viewer.drawing.render(false);
    const { canvas } = viewer.drawing, { width, height } = canvas, cut = Math.min(width / w, height / h);
    const from = [(width - cut * w) / 2, (height - cut * h) / 2, cut * w, cut * h];
    picture.getContext("2d").drawImage(canvas, ...from, 0, 0, w, h);
    return { state: viewer.camera.state(), picture: picture.toDataURL("image/jpeg", 0.8) };
  }

  play(on) {
    if (on === this.playing || (on && !this.path)) return;
    const { viewer } = this;
    this.playing = on;
    viewer.controls.halt();
    if (on) viewer.controls.flyTo(this.path.at(this.time), 0.5);
    this.timeline.playing(on);
    viewer.overlay.mark("orbit", false);
    viewer.drawing.changed(); // marks come and go
  }

  // Moves on by some seconds, if the way is being played.
  move(seconds) {
    const { controls, camera } = this.viewer;
    if (this.playing && !controls.flight) camera.assign(this.path.at(this.time += seconds * controls.speed));
    if (this.playing) this.timeline.at(this.path.share(this.time));
    return this.playing;
  }

  // Stands somewhere on the way; share in [0, 1].
  seek(share) {
    const { viewer } = this;
    this.play(false);
    viewer.controls.halt();
    viewer.overlay.mark("orbit", false);
    this.time = Math.min(share, 1 - 1e-9) * this.path.seconds;
    viewer.camera.assign(this.path.atShare(share));
    this.timeline.at(share);
    viewer.drawing.wake();
  }

  // From one of its cameras to the next.
  step(by) {
    if (!this.path) return;
    const step = 1 / (this.path.states.length - 1), share = this.path.share(this.time);
    this.seek(Math.min(1, Math.max(0, (Math.round(share / step) + by) * step)));
  }

  rewind() {
    this.time = 0;
    this.timeline.at(0);
  }
}
