// Panoramas: a pass that draws an equirectangular image along each pixel's ray, and a small viewer of its own.
//
// Longitude 0 (the middle of the image) is z forward, growing to the right; row 0 is up.

import { compile, uniformsOf } from "./gl.js";

const PANORAMA_VERTEX = `#version 300 es
out vec2 ndc;
void main() {
  ndc = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0; // one triangle that covers the screen
  gl_Position = vec4(ndc, 0.0, 1.0);
}`;

const PANORAMA_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D image;
uniform mat3 worldFromCam;
uniform vec2 slopes; // tangent of half the field of view
uniform float opacity;
in vec2 ndc;
out vec4 result;
void main() {
  vec3 ray = normalize(worldFromCam * vec3(ndc.x * slopes.x, -ndc.y * slopes.y, 1.0));
  vec2 uv = vec2(atan(ray.x, ray.z) / 6.28318531 + 0.5, 0.5 + asin(clamp(ray.y, -1.0, 1.0)) / 3.14159265);
  result = vec4(textureLod(image, uv, 0.0).rgb, 1.0) * opacity; // no mipmap: its level jumps at +-180 degrees
}`;

export class PanoramaPass {
  static async make(gl, image) { return new PanoramaPass(gl, await compile(gl, PANORAMA_VERTEX, PANORAMA_FRAGMENT), image); }

  constructor(gl, program, image) {
    Object.assign(this, { gl, program, uniforms: uniformsOf(gl, program, ["image", "worldFromCam", "slopes", "opacity"]) });
    this.vertices = gl.createVertexArray();
    this.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, image);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.REPEAT); // over +-180 degrees
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  // axes: right, down, forward in the world; slopes: [x, y] tangents of half the field of view.
  draw({ right, down, forward }, slopes, opacity) {
    const { gl, uniforms } = this;
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.useProgram(this.program);
    gl.bindVertexArray(this.vertices);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.uniform1i(uniforms.image, 0);
    gl.uniformMatrix3fv(uniforms.worldFromCam, false, [...right, ...down, ...forward]);
    gl.uniform2fv(uniforms.slopes, slopes);
    gl.uniform1f(uniforms.opacity, opacity);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

export async function loadImage(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

// A page that looks around in one panorama.
export async function startPanorama(root) {
  root.className = "os-panorama";
  root.tabIndex = 0;
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const help = touch ? "drag to look · pinch to zoom" : "drag to look · wheel to zoom · double click to go back";
  root.appendChild(document.createElement("p")).textContent = help;
  window.onescene = await mountPanorama(root, document.getElementById("panorama").textContent);
}

// A viewer that looks around: drag, wheel or pinch to zoom, arrow keys, double click to go back.
async function mountPanorama(root, url) {
  const canvas = root.appendChild(document.createElement("canvas"));
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false });
  if (!gl) {
    root.replaceChildren(Object.assign(new Image(), { src: url, className: "flat" })); // still the whole picture
    return null;
  }
  const view = { yaw: 0, pitch: 0, fov: 80 }; // radians, radians, degrees along the wider side
  const pass = await PanoramaPass.make(gl, await loadImage(url));
  const pointers = new Map();
  let asked = 0;

  function draw() {
    asked = 0;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    const wide = Math.tan(view.fov * Math.PI / 360) / Math.max(canvas.width, canvas.height);
    const [s, c, sp, cp] = [Math.sin(view.yaw), Math.cos(view.yaw), Math.sin(view.pitch), Math.cos(view.pitch)];
    const axes = { right: [c, 0, -s], down: [s * sp, cp, c * sp], forward: [s * cp, -sp, c * cp] };
    pass.draw(axes, [wide * canvas.width, wide * canvas.height], 1);
  }
  const ask = () => { asked ||= requestAnimationFrame(draw); };
  const turn = (dx, dy) => {
    const step = 2 * Math.tan(view.fov * Math.PI / 360) / Math.max(canvas.clientWidth, canvas.clientHeight);
    view.yaw -= dx * step;
    view.pitch = Math.min(1.57, Math.max(-1.57, view.pitch + dy * step));
    ask();
  };
  const zoom = (factor) => { view.fov = Math.min(130, Math.max(20, view.fov * factor)); ask(); };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    root.focus({ preventScroll: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId), after = [event.clientX, event.clientY];
    if (!before) return;
    if (pointers.size > 1) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      zoom((Math.hypot(before[0] - other[0], before[1] - other[1]) + 1) /
        (Math.hypot(after[0] - other[0], after[1] - other[1]) + 1));
    } else {
      turn(after[0] - before[0], after[1] - before[1]);
    }
    pointers.set(event.pointerId, after);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    if (window !== window.parent && !document.hasFocus()) return; // let the page around us scroll
    event.preventDefault();
    zoom(Math.exp(0.001 * event.deltaY));
  }, { passive: false });
  canvas.addEventListener("dblclick", () => { Object.assign(view, { yaw: 0, pitch: 0, fov: 80 }); ask(); });
  root.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.code];
    if (by) { turn(...by); event.preventDefault(); }
  });
  new ResizeObserver(ask).observe(canvas);
  draw();
  return { view, draw, snapshot: () => { draw(); return canvas.toDataURL("image/png"); } };
}
