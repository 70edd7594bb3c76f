// Splatting in WebGL2: one oriented quad per Gaussian, drawn back to front with premultiplied alpha.
//
// The formulation (quads projected in the vertex shader, depths sorted in a worker: sorter.js) is the one that
// antimatter15/splat (MIT licence, Kevin Kwok) made well known; this is an independent implementation. Blur, clamps and
// thresholds are those of gsplat, so that the picture equals the one that onescene.splatting renders.
// World and camera axes: x right, y down, z forward.

import { compile, uniformsOf } from "./gl.js";

const BLOCK = 256; // Gaussians that share bounds; the layout is described in packing.py
const CHUNK = 256 * BLOCK; // Gaussians unpacked in one step
const TEXTURE_WIDTH = 2048; // texels per row: WebGL2 guarantees this much
const QUADS = 1024; // per instance: instances of a single quad leave most of a graphics card idle

const VERTEX_SHADER = `#version 300 es
precision highp float;
precision highp int;
uniform highp usampler2D gaussians; // one texel each
uniform highp sampler2D blocks;     // three texels each: low, extent of position; low, extent of log scale
uniform mat3 camFromWorld;
uniform vec3 eye;
uniform vec2 focal;    // pixels
uniform vec2 viewport; // pixels
uniform float near;    // world units
uniform highp usampler2D order; // indices of Gaussians, far to near
uniform int visible;
uniform float widen;   // larger Gaussians close the gaps where only some of them are drawn
out vec2 offset;       // from the centre, in standard deviations
flat out vec4 colour;

float half15(uint word) { return float(word & 0x7fffu) / 32767.0; }
float byteAt(uint word, int shift) { return float((word >> shift) & 255u); }

mat3 rotation(uint largest, vec3 others) {
  float rest = sqrt(max(0.0, 1.0 - dot(others, others)));
  vec4 q = largest == 0u ? vec4(rest, others)                          // q = (w, x, y, z)
         : largest == 1u ? vec4(others.z, rest, others.xy)
         : largest == 2u ? vec4(others.yz, rest, others.x)
         : vec4(others, rest);
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3( // columns
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0); // outside of the clip volume: nothing is drawn
  int quad = gl_InstanceID * ${QUADS} + gl_VertexID / 4, side = gl_VertexID % 4;
  if (quad >= visible) return;
  int i = int(texelFetch(order, ivec2(quad % ${TEXTURE_WIDTH}, quad / ${TEXTURE_WIDTH}), 0).x);
  uvec4 texel = texelFetch(gaussians, ivec2(i % ${TEXTURE_WIDTH}, i / ${TEXTURE_WIDTH}), 0);
  int block = i / ${BLOCK};
  ivec2 at = ivec2(3 * (block % ${BLOCK}), block / ${BLOCK});
  vec4 b0 = texelFetch(blocks, at, 0), b1 = texelFetch(blocks, at + ivec2(1, 0), 0),
       b2 = texelFetch(blocks, at + ivec2(2, 0), 0);

  vec3 mean = b0.xyz + vec3(b0.w, b1.xy) * vec3(half15(texel.x), half15(texel.x >> 15), half15(texel.y));
  vec3 p = camFromWorld * (mean - eye);
  if (p.z < near) return;
  float opacity = byteAt(texel.w, 24) / 255.0 * smoothstep(1.0, 3.0, p.z / near); // fades out before it is cut
  if (opacity < 1.0 / 255.0) return;

  vec3 bytes = vec3(byteAt(texel.y, 16), byteAt(texel.y, 24), byteAt(texel.z, 0));
  vec3 scale = widen * exp(vec3(b1.zw, b2.x) + b2.yzw * bytes / 255.0);
  vec3 others = (vec3(byteAt(texel.z, 8), byteAt(texel.z, 16), byteAt(texel.z, 24)) / 127.5 - 1.0) * 0.70710678;
  mat3 axes = camFromWorld * rotation(texel.x >> 30, others); // columns, in the camera
  axes[0] *= scale.x; axes[1] *= scale.y; axes[2] *= scale.z;

  // The linearised projection, taken at most 30 % outside of the picture.
  vec2 limit = 1.3 * 0.5 * viewport / focal;
  vec2 t = clamp(p.xy / p.z, -limit, limit);
  vec3 u = focal.x / p.z * vec3(axes[0].x - t.x * axes[0].z, axes[1].x - t.x * axes[1].z, axes[2].x - t.x * axes[2].z);
  vec3 v = focal.y / p.z * vec3(axes[0].y - t.y * axes[0].z, axes[1].y - t.y * axes[1].z, axes[2].y - t.y * axes[2].z);
  float xx = dot(u, u) + 0.3, yy = dot(v, v) + 0.3, xy = dot(u, v);
  vec3 minors = cross(u, v); // xx yy - xy^2 as a sum of positive terms: long thin ellipses do not cancel
  float det = dot(minors, minors) + 0.3 * (xx + yy) - 0.09;

  float middle = 0.5 * (xx + yy);
  float major = middle + length(vec2(0.5 * (xx - yy), xy));
  vec2 direction = abs(xy) > 1e-6 * major ? normalize(vec2(xy, major - xx)) : (xx >= yy ? vec2(1, 0) : vec2(0, 1));
  vec2 sigma = min(sqrt(vec2(major, det / major)), vec2(max(viewport.x, viewport.y)));

  float reach = sqrt(2.0 * log(255.0 * opacity)); // where alpha falls to 1/255
  vec2 corner = vec2(side & 1, side >> 1) * 2.0 - 1.0;
  offset = corner * reach;
  vec2 px = offset.x * sigma.x * direction + offset.y * sigma.y * vec2(-direction.y, direction.x);
  vec2 ndc = 2.0 * (focal * p.xy / p.z + px) / viewport;
  gl_Position = vec4(ndc.x, -ndc.y, 0.0, 1.0); // the screen's y points up, ours down
  colour = vec4(byteAt(texel.w, 0), byteAt(texel.w, 8), byteAt(texel.w, 16), 255.0 * opacity) / 255.0;
}`;

const FRAGMENT_SHADER = `#version 300 es
precision highp float;
in vec2 offset;
flat in vec4 colour;
out vec4 result;
void main() {
  float alpha = min(0.999, colour.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  result = vec4(colour.rgb * alpha, alpha);
}`;

const UNIFORMS = ["gaussians", "blocks", "order", "visible", "widen", "camFromWorld", "eye", "focal", "viewport", "near"];

// The shaders, for all renderers of a context.
export async function makeSplatProgram(gl) {
  const program = await compile(gl, VERTEX_SHADER, FRAGMENT_SHADER);
  return { program, uniforms: uniformsOf(gl, program, UNIFORMS) };
}

export class SplatRenderer {
  // program: made by makeSplatProgram.
  constructor(gl, program, count) {
    const rows = Math.ceil(count / TEXTURE_WIDTH);
    if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
      throw new Error(`This graphics card holds fewer than ${count.toLocaleString()} Gaussians.`);
    }
    Object.assign(this, { gl, program, visible: 0 });
    this.textures = [this.texture(gl.RGBA32UI, TEXTURE_WIDTH, rows),
      this.texture(gl.RGBA32F, 3 * BLOCK, Math.ceil(count / CHUNK)), this.texture(gl.R32UI, TEXTURE_WIDTH, rows)];
    this.vertices = gl.createVertexArray();
    gl.bindVertexArray(this.vertices);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    const corner = (k) => 4 * Math.floor(k / 6) + [0, 1, 2, 2, 1, 3][k % 6]; // two triangles
    const corners = Uint16Array.from({ length: 6 * QUADS }, (_, k) => corner(k));
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }

  texture(format, width, height) {
    const { gl } = this, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
      gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
    }
    return texture;
  }

  addChunk(index, { texels, bounds }) {
    const { gl } = this, n = texels.length / 4, full = Math.floor(n / TEXTURE_WIDTH);
    const row = index * CHUNK / TEXTURE_WIDTH, rest = n - full * TEXTURE_WIDTH;
    const put = (y, width, height, from) => gl.texSubImage2D(
      gl.TEXTURE_2D, 0, 0, y, width, height, gl.RGBA_INTEGER, gl.UNSIGNED_INT, texels, from);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[0]);
    if (full) put(row, TEXTURE_WIDTH, full, 0);
    if (rest) put(row + full, rest, 1, full * TEXTURE_WIDTH * 4);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[1]);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, index, bounds.length / 4, 1, gl.RGBA, gl.FLOAT, bounds);
  }

  // order: whole rows of indices, of which the first `visible` count.
  setOrder({ order, visible, stride }) {
    const { gl } = this;
    Object.assign(this, { visible, widen: Math.sqrt(stride) });
    if (!visible) return;
    gl.bindTexture(gl.TEXTURE_2D, this.textures[2]);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, order.length / TEXTURE_WIDTH, gl.RED_INTEGER,
      gl.UNSIGNED_INT, order);
  }

  // view: eye [world units], camFromWorld (9 numbers, by rows), focal [pixels], near [world units].
  draw(view) {
    const { gl, program: { program, uniforms } } = this, { drawingBufferWidth: width, drawingBufferHeight: height } = gl;
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.visible) return;
    gl.useProgram(program);
    gl.bindVertexArray(this.vertices);
    this.textures.forEach((texture, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    });
    gl.activeTexture(gl.TEXTURE0);
    gl.uniform1i(uniforms.gaussians, 0);
    gl.uniform1i(uniforms.blocks, 1);
    gl.uniform1i(uniforms.order, 2);
    gl.uniform1i(uniforms.visible, this.visible);
    gl.uniform1f(uniforms.widen, this.widen);
    gl.uniformMatrix3fv(uniforms.camFromWorld, true, view.camFromWorld);
    gl.uniform3fv(uniforms.eye, view.eye);
    gl.uniform2fv(uniforms.focal, view.focal);
    gl.uniform2f(uniforms.viewport, width, height);
    gl.uniform1f(uniforms.near, view.near);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawElementsInstanced(gl.TRIANGLES, 6 * QUADS, gl.UNSIGNED_SHORT, 0, Math.ceil(this.visible / QUADS));
  }
}
