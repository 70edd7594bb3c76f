// Unpacking and depth sorting, away from the page: a worker made from this file's own text.
//
// The layout of a chunk is described in packing.py, whose unpack() is the twin of the decoder here.

// What the worker runs. It is turned into text, so it uses nothing from outside of itself.
function sorter(port) {
  const BLOCK = 256, CHUNK = 256 * BLOCK, BLOCK_FLOATS = 12, TEXEL_BYTES = 16, ROW = 2048;
  const BLOCK_BYTES = BLOCK * TEXEL_BYTES + BLOCK_FLOATS * 4;
  let positions, spheres, loaded = 0; // spheres: centre and radius of each block
  let keys = new Uint16Array(0), members = new Uint32Array(0);
  const float = new Float32Array(1), bits = new Uint32Array(float.buffer);
  const bitsOf = (value) => { float[0] = value; return bits[0]; };

  function fromBase64(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text), out = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
    return out;
  }

  async function inflate(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function addChunk(raw, first) {
    const blocks = Math.ceil(raw.length / BLOCK_BYTES), head = blocks * BLOCK_FLOATS * 4;
    const bounds = new Float32Array(raw.slice(0, head).buffer), n = (raw.length - head) / TEXEL_BYTES;
    const bytes = new Uint8Array(n * TEXEL_BYTES), texels = new Uint32Array(bytes.buffer);
    for (let k = 0; k < TEXEL_BYTES; k++) { // byte planes back to texels
      for (let i = 0, from = head + k * n, to = k; i < n; i++, to += TEXEL_BYTES) bytes[to] = raw[from + i];
    }
    for (let i = 0; i < n; i++) {
      const b = (i >> 8) * BLOCK_FLOATS, low = texels[4 * i], at = 3 * (first + i);
      positions[at] = bounds[b] + bounds[b + 3] * (low & 0x7fff) / 32767;
      positions[at + 1] = bounds[b + 1] + bounds[b + 4] * (low >>> 15 & 0x7fff) / 32767;
      positions[at + 2] = bounds[b + 2] + bounds[b + 5] * (texels[4 * i + 1] & 0x7fff) / 32767;
    }
    for (let k = 0; k < blocks; k++) {
      const b = bounds.subarray(k * BLOCK_FLOATS, (k + 1) * BLOCK_FLOATS), at = 4 * (first / BLOCK + k);
      const reach = 3 * Math.exp(Math.max(b[6] + b[9], b[7] + b[10], b[8] + b[11]));
      for (let axis = 0; axis < 3; axis++) spheres[at + axis] = b[axis] + b[3 + axis] / 2;
      spheres[at + 3] = Math.hypot(b[3], b[4], b[5]) / 2 + reach;
    }
    loaded += n;
    return { texels, bounds };
  }

  // Calls visit(first, last, nearest, farthest) for each block that may show in the (widened) view.
  function visibleBlocks(view, visit) {
    const { eye: e, camFromWorld: r, slopes, near } = view;
    const [sx, sy] = slopes, nx = Math.hypot(1, sx), ny = Math.hypot(1, sy);
    for (let k = 0; k * BLOCK < loaded; k++) {
      const dx = spheres[4 * k] - e[0], dy = spheres[4 * k + 1] - e[1], dz = spheres[4 * k + 2] - e[2];
      const radius = spheres[4 * k + 3];
      const z = r[6] * dx + r[7] * dy + r[8] * dz;
      if (z + radius < near) continue;
      if ((Math.abs(r[0] * dx + r[1] * dy + r[2] * dz) - z * sx) > radius * nx) continue;
      if ((Math.abs(r[3] * dx + r[4] * dy + r[5] * dz) - z * sy) > radius * ny) continue;
      visit(k * BLOCK, Math.min((k + 1) * BLOCK, loaded), z + radius);
    }
  }

  // Far to near by a counting sort of 16-bit keys. The bits of a positive float grow with its logarithm (piecewise
  // linearly), so equal steps of the key are equal ratios of depth: the room and its sky both keep their order.
  // A stride takes every second, third... Gaussian: evenly spread in space, as the order in memory is.
  function sort(view, stride) {
    const ranges = [];
    let farthest = view.near, total = 0;
    visibleBlocks(view, (first, last, far) => { ranges.push(first, last); farthest = Math.max(farthest, far); });
    if (keys.length < loaded) { keys = new Uint16Array(loaded); members = new Uint32Array(loaded); }
    const { eye: e, camFromWorld: r, near } = view;
    const lowest = bitsOf(near), step = 65535 / Math.max(1, bitsOf(farthest) - lowest);
    const starts = new Uint32Array(65537);
    for (let k = 0; k < ranges.length; k += 2) {
      for (let i = ranges[k], at = 3 * i; i < ranges[k + 1]; i += stride, at += 3 * stride) {
        const z = r[6] * (positions[at] - e[0]) + r[7] * (positions[at + 1] - e[1]) + r[8] * (positions[at + 2] - e[2]);
        if (z < near) continue;
        float[0] = z;
        const key = 65535 - Math.min(65535, (bits[0] - lowest) * step | 0);
        members[total] = i;
        keys[total++] = key;
        starts[key + 1]++;
      }
    }
    for (let k = 0; k < 65536; k++) starts[k + 1] += starts[k];
    const order = new Uint32Array(Math.ceil(total / ROW) * ROW); // whole rows of the texture
    for (let i = 0; i < total; i++) order[starts[keys[i]]++] = members[i];
    return { order, visible: total, stride };
  }

  // Depth of what lies in the middle of the view: the first quarter of the depths within about two degrees.
  function focus(view) {
    const depths = [], { eye: e, camFromWorld: r, near } = view;
    visibleBlocks({ ...view, slopes: [0.04, 0.04] }, (first, last) => {
      for (let i = first, at = 3 * first; i < last; i++, at += 3) {
        const dx = positions[at] - e[0], dy = positions[at + 1] - e[1], dz = positions[at + 2] - e[2];
        const z = r[6] * dx + r[7] * dy + r[8] * dz;
        const x = r[0] * dx + r[1] * dy + r[2] * dz, y = r[3] * dx + r[4] * dy + r[5] * dz;
        if (z > 3 * near && x * x + y * y < (0.04 * z) ** 2) depths.push(z);
      }
    });
    depths.sort((a, b) => a - b);
    return depths.length ? depths[depths.length >> 2] : null;
  }

  port.onmessage = async ({ data: { id, type, ...message } }) => {
    try {
      if (type === "start") {
        positions = new Float32Array(3 * message.count);
        spheres = new Float32Array(4 * Math.ceil(message.count / BLOCK));
        loaded = 0;
        port.postMessage({ id });
      } else if (type === "chunk") {
        const packed = typeof message.data === "string" ? fromBase64(message.data) : message.data;
        const { texels, bounds } = addChunk(await inflate(packed), message.index * CHUNK);
        port.postMessage({ id, result: { texels, bounds } }, [texels.buffer, bounds.buffer]);
      } else if (type === "sort") {
        const result = sort(message.view, message.stride);
        port.postMessage({ id, result }, [result.order.buffer]);
      } else if (type === "focus") {
        port.postMessage({ id, result: focus(message.view) });
      }
    } catch (error) {
      port.postMessage({ id, error: String(error) });
    }
  };
}

// A worker whose calls are promises; without workers (some sandboxed frames) it runs in the page.
export class Sorter {
  constructor() {
    this.waiting = new Map();
    this.nextId = 0;
    try {
      const url = URL.createObjectURL(new Blob([`(${sorter})(self)`], { type: "text/javascript" }));
      this.port = new Worker(url);
      URL.revokeObjectURL(url);
      this.port.onerror = () => this.runInPage();
    } catch {
      this.runInPage();
    }
    this.listen();
  }

  runInPage() {
    const { port1, port2 } = new MessageChannel();
    sorter(port2);
    this.port = port1;
    this.listen();
    for (const { message } of this.waiting.values()) this.port.postMessage(message);
  }

  listen() {
    this.port.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) reject(new Error(error)); else resolve(result);
    };
  }

  call(type, content) {
    const message = { id: this.nextId++, type, ...content };
    return new Promise((resolve, reject) => {
      this.waiting.set(message.id, { resolve, reject, message });
      this.port.postMessage(message);
    });
  }

  close() { (this.port.terminate ?? this.port.close).call(this.port); }
}
