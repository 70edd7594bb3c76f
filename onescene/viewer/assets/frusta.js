// Cameras in the scene: frusta with their pictures, the way between them, and which of them lies under the pointer.

import { compile, uniformsOf } from "./gl.js";
import { add, clamp, distanceBetween, dot } from "./camera.js";

const LINE_PX = 1.6;
const SPREAD = 0.55; // length of a frustum over the distance to the next camera
const SIZE_LIMITS = [0.03, 0.12]; // of the scene's radius
const GONE = 1.05, WHOLE = 1.7; // frusta fade between these multiples of their length: the one we stand in is not seen
const PICTURE_OPACITY = 0.96;
const LEAST_PICKED = 0.2; // opacity of what a click finds

const LINE_VERTEX = `#version 300 es
precision highp float;
uniform mat3 camFromWorld;
uniform vec3 eye;
uniform vec2 focal, viewport; // pixels
uniform float near, halfWidth;
in vec3 from, to;
in vec4 tint;
out float across;
flat out vec4 colour;
void main() {
  vec3 a = camFromWorld * (from - eye), b = camFromWorld * (to - eye);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  if (max(a.z, b.z) <= near) return;
  if (a.z < near) a = mix(a, b, (near - a.z) / (b.z - a.z));
  if (b.z < near) b = mix(b, a, (near - b.z) / (a.z - b.z));
  vec2 p = focal * a.xy / a.z, q = focal * b.xy / b.z, way = q - p;
  vec2 along = length(way) > 1e-4 ? normalize(way) : vec2(1, 0);
  float end = float(gl_VertexID & 1), side = float(gl_VertexID >> 1) * 2.0 - 1.0;
  across = side * (halfWidth + 1.0);
  vec2 px = mix(p, q, end) + vec2(-along.y, along.x) * across + along * (end - 0.5) * halfWidth;
  gl_Position = vec4(2.0 * px.x / viewport.x, -2.0 * px.y / viewport.y, 0.0, 1.0);
  colour = tint;
}`;
const LINE_FRAGMENT = `#version 300 es
precision highp float;
uniform float halfWidth;
in float across;
flat in vec4 colour;
out vec4 result;
void main() {
  float alpha = colour.a * clamp(halfWidth + 0.5 - abs(across), 0.0, 1.0);
  result = vec4(colour.rgb * alpha, alpha);
}`;
const PICTURE_VERTEX = `#version 300 es
precision highp float;
uniform mat3 camFromWorld;
uniform vec3 eye;
uniform vec2 focal, viewport; // pixels
uniform vec3 centre, right, down;
uniform vec4 place; // in the sheet of pictures: corner and size, in [0, 1]
out vec2 uv;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  vec3 p = camFromWorld * (centre + right * (2.0 * corner.x - 1.0) + down * (2.0 * corner.y - 1.0) - eye);
  gl_Position = vec4(2.0 * focal.x * p.x / viewport.x, -2.0 * focal.y * p.y / viewport.y, 0.0, p.z);
  uv = place.xy + place.zw * corner;
}`;
const PICTURE_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D sheet;
uniform float opacity;
in vec2 uv;
out vec4 result;
void main() { result = vec4(textureLod(sheet, uv, 0.0).rgb, 1.0) * opacity; }`;

// How long frusta are drawn, from the ways between them [world units].
export function frustumLength(states, radius) {
  const ways = states.slice(1).map((state, k) => distanceBetween(state.position, states[k].position)).sort((a, b) => a - b);
  const typical = ways.length ? ways[ways.length >> 1] : 0;
  return clamp(SPREAD * typical, SIZE_LIMITS[0] * radius, SIZE_LIMITS[1] * radius);
}

// The picture plane of a camera in the world: centre, and half its width and height as vectors.
export function picturePlane({ position, right, forward, fov, aspect = 1.5 }, length) {
  const half = length * Math.tan((fov ?? 1) / 2), down = [0, 1, 2].map((k) =>
    forward[(k + 1) % 3] * right[(k + 2) % 3] - forward[(k + 2) % 3] * right[(k + 1) % 3]);
  const [w, h] = aspect > 1 ? [half * aspect, half] : [half, half / aspect]; // fov spans the shorter side
  return { centre: add(position, forward, length), right: right.map((v) => v * w), down: down.map((v) => v * h) };
}

export class FrustaPass {
  static async make(gl) {
    const programs = [compile(gl, LINE_VERTEX, LINE_FRAGMENT), compile(gl, PICTURE_VERTEX, PICTURE_FRAGMENT)];
    return new FrustaPass(gl, ...await Promise.all(programs));
  }

  constructor(gl, lines, pictures) {
    this.gl = gl;
    const common = ["camFromWorld", "eye", "focal", "viewport"], of = (program, names) =>
      ({ program, at: uniformsOf(gl, program, [...common, ...names]) });
    this.lines = of(lines, ["near", "halfWidth"]);
    this.pictures = of(pictures, ["centre", "right", "down", "place", "sheet", "opacity"]);
    this.buffer = gl.createBuffer();
    this.segments = gl.createVertexArray();
    this.plain = gl.createVertexArray();
    gl.bindVertexArray(this.segments);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    for (const [name, size, at] of [["from", 3, 0], ["to", 3, 12], ["tint", 4, 24]]) {
      const place = gl.getAttribLocation(this.lines.program, name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, gl.FLOAT, false, 40, at);
      gl.vertexAttribDivisor(place, 1);
    }
    gl.bindVertexArray(null);
  }

  // A sheet of equally large pictures, `columns` in a row.
  setSheet(image, columns, rows) {
    const { gl } = this;
    this.sheet = { columns, rows, texture: gl.createTexture(), texel: [1 / image.width, 1 / image.height] };
    gl.bindTexture(gl.TEXTURE_2D, this.sheet.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, image);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    for (const wrap of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, wrap, gl.CLAMP_TO_EDGE);
  }

  common({ program, at }, view, viewport) {
    const { gl } = this;
    gl.useProgram(program);
    gl.uniformMatrix3fv(at.camFromWorld, true, view.camFromWorld);
    gl.uniform3fv(at.eye, view.eye);
    gl.uniform2fv(at.focal, view.focal);
    gl.uniform2fv(at.viewport, viewport);
  }

  // frusta: {plane, apex, tint [r, g, b], opacity, picture (index in the sheet) or null}; ways: {states, tint, opacity}.
  draw(view, frusta, ways, ratio) {
    const { gl } = this, viewport = [gl.drawingBufferWidth, gl.drawingBufferHeight], segments = [];
    gl.viewport(0, 0, ...viewport);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    for (const { points, tint, opacity } of ways) {
      for (let k = 1; k < points.length; k++) segments.push(...points[k - 1], ...points[k], ...tint, opacity);
    }
    this.drawLines(view, viewport, segments, ratio);
    const depth = ({ plane }) => dot(view.axes.forward, add(plane.centre, view.eye, -1));
    for (const frustum of [...frusta].sort((a, b) => depth(b) - depth(a))) { // far ones first
      if (frustum.opacity <= 0) continue;
      this.drawPicture(view, viewport, frustum);
      this.drawLines(view, viewport, edges(frustum), ratio * (frustum.hovered ? 2 : 1));
    }
  }

  drawPicture(view, viewport, { plane, picture, opacity }) {
    if (!this.sheet || picture === null) return;
    const { gl, sheet } = this, { at } = this.pictures, [tx, ty] = sheet.texel;
    const size = [1 / sheet.columns, 1 / sheet.rows];
    const corner = [picture % sheet.columns * size[0], Math.floor(picture / sheet.columns) * size[1]];
    this.common(this.pictures, view, viewport);
    gl.bindVertexArray(this.plain);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, sheet.texture);
    gl.uniform1i(at.sheet, 0);
    for (const name of ["centre", "right", "down"]) gl.uniform3fv(at[name], plane[name]);
    gl.uniform4f(at.place, corner[0] + tx, corner[1] + ty, size[0] - 2 * tx, size[1] - 2 * ty); // neighbours stay out
    gl.uniform1f(at.opacity, opacity * PICTURE_OPACITY);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  drawLines(view, viewport, segments, ratio) {
    if (!segments.length) return;
    const { gl } = this, { at } = this.lines;
    this.common(this.lines, view, viewport);
    gl.uniform1f(at.near, 0.2 * view.near);
    gl.uniform1f(at.halfWidth, 0.5 * LINE_PX * ratio);
    gl.bindVertexArray(this.segments);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(segments), gl.DYNAMIC_DRAW);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, segments.length / 10);
  }
}

function edges({ plane, apex, tint, opacity }) {
  const corner = (x, y) => add(add(plane.centre, plane.right, x), plane.down, y);
  const corners = [corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)], out = [];
  corners.forEach((point, k) => {
    out.push(...apex, ...point, ...tint, 0.45 * opacity);
    out.push(...point, ...corners[(k + 1) % 4], ...tint, opacity);
  });
  return out;
}

// A frustum as it is drawn from an eye.
export function frustumOf(state, length, eye, look) {
  const plane = picturePlane(state, length);
  const t = clamp((distanceBetween(eye, plane.centre) / length - GONE) / (WHOLE - GONE), 0, 1);
  return { plane, apex: state.position, state, ...look, opacity: t * t * (3 - 2 * t) };
}

// The nearest frustum whose picture a ray from the eye meets; null if none does.
export function pick(frusta, eye, ray) {
  let best = null, nearest = Infinity;
  for (const frustum of frusta) {
    const { plane: { centre, right, down }, state: { forward }, opacity } = frustum, slope = dot(ray, forward);
    const t = dot(add(centre, eye, -1), forward) / slope;
    if (opacity < LEAST_PICKED || !(t > 0) || t >= nearest) continue;
    const off = add(add(eye, ray, t), centre, -1);
    if (Math.abs(dot(off, right)) <= dot(right, right) && Math.abs(dot(off, down)) <= dot(down, down)) {
      [best, nearest] = [frustum, t];
    }
  }
  return best;
}
