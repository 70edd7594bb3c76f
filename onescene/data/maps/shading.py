"""The compiled part of the ray tracer: texture, lightmap and alpha lookups at hit points."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numba
import numpy as np

OVERBRIGHT = 2.0  # lightmaps are stored at half their brightness
SOLID, CUTOUT, SKY = 0, 1, 2
VERTEX_LIT, FULLBRIGHT = -1, -2  # in place of a lightmap's index
ALPHA_CUT = 127.5


def _kernel(function: Callable) -> Callable:
    """Compiles a function; shape checking may have wrapped it, and Numba needs the function itself."""
    return numba.njit(cache=True, nogil=True)(inspect.unwrap(function))


@_kernel
def _wrap(i, n):
    i = i % n
    return i + n if i < 0 else i


@_kernel
def _sample(pixels, start, height, width, u, v, out):
    """Bilinear lookup with repeat; `out` receives 4 values of 0 to 255."""
    x = (u - np.floor(u)) * width - 0.5
    y = (v - np.floor(v)) * height - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    xa, xb = _wrap(x0, width), _wrap(x0 + 1, width)
    ya, yb = _wrap(y0, height), _wrap(y0 + 1, height)
    for c in range(4):
        top = pixels[start + ya * width + xa, c] * (1 - fx) + pixels[start + ya * width + xb, c] * fx
        low = pixels[start + yb * width + xa, c] * (1 - fx) + pixels[start + yb * width + xb, c] * fx
        out[c] = top * (1 - fy) + low * fy


@_kernel
def _level(footprint_m, density, levels):
    """Mip level at which one texel is about as large as the ray's footprint."""
    texels = footprint_m * density
    if texels <= 1.0:
        return 0
    return min(int(np.log2(texels) + 0.5), levels - 1)


@_kernel
def mark_passing(hits, directions, pixel_rad, mesh, atlas, passing):
    """Marks hits a ray goes through: backs of one-sided surfaces and clear parts of cut-outs.

    `hits` is (prim, bary, distance), `mesh` (kind, two_sided, normal, uv, texture, density),
    `atlas` (pixels, offset, size).
    """
    prim, bary, distance = hits
    kind, two_sided, normal, uv, texture, density = mesh
    pixels, offset, size = atlas
    texel = np.zeros(4)
    for i in range(prim.shape[0]):
        t = prim[i]
        passing[i] = False
        if t < 0 or kind[t] == SKY:
            continue
        facing = 0.0
        for c in range(3):
            facing += directions[i, c] * normal[t, c]
        if facing > 0 and not two_sided[t]:
            passing[i] = True
        elif kind[t] == CUTOUT:
            b1, b2 = bary[i, 0], bary[i, 1]
            b0 = 1.0 - b1 - b2
            u = b0 * uv[t, 0, 0] + b1 * uv[t, 1, 0] + b2 * uv[t, 2, 0]
            v = b0 * uv[t, 0, 1] + b1 * uv[t, 1, 1] + b2 * uv[t, 2, 1]
            k = _level(distance[i] * pixel_rad, density[t], offset.shape[1])
            j = texture[t]
            _sample(pixels, offset[j, k], size[j, k, 0], size[j, k, 1], u, v, texel)
            passing[i] = texel[3] < ALPHA_CUT


@_kernel
def _light(t, weights, light, out):
    """Light at a hit on triangle `t`, 1 = the texture as stored; `light` as in `shade`."""
    b0, b1, b2 = weights
    pages, light_uv, colour, lightmaps = light
    page = pages[t]
    if page == FULLBRIGHT:
        out[0] = out[1] = out[2] = 1.0
    elif page == VERTEX_LIT:
        for c in range(3):
            out[c] = (b0 * colour[t, 0, c] + b1 * colour[t, 1, c] + b2 * colour[t, 2, c]) / 255.0 * OVERBRIGHT
    else:
        height, width = lightmaps.shape[1], lightmaps.shape[2]
        x = (b0 * light_uv[t, 0, 0] + b1 * light_uv[t, 1, 0] + b2 * light_uv[t, 2, 0]) * width - 0.5
        y = (b0 * light_uv[t, 0, 1] + b1 * light_uv[t, 1, 1] + b2 * light_uv[t, 2, 1]) * height - 0.5
        x, y = min(max(x, 0.0), width - 1.001), min(max(y, 0.0), height - 1.001)
        x0, y0 = int(x), int(y)
        fx, fy = x - x0, y - y0
        for c in range(3):
            top = lightmaps[page, y0, x0, c] * (1 - fx) + lightmaps[page, y0, x0 + 1, c] * fx
            low = lightmaps[page, y0 + 1, x0, c] * (1 - fx) + lightmaps[page, y0 + 1, x0 + 1, c] * fx
            out[c] = (top * (1 - fy) + low * fy) / 255.0 * OVERBRIGHT


@_kernel
def shade(hits, directions, pixel_rad, mesh, light, atlas, out):
    """Colour of each hit, linear in the stored values and not yet exposed; sky and misses stay untouched.

    `hits` is (prim, bary, distance), `mesh` (kind, normal, uv, texture, glow, density), `light`
    (page, uv, colour, lightmaps [n, h, w, 3] uint8), `atlas` (pixels, offset, size).
    """
    prim, bary, distance = hits
    kind, normal, uv, texture, glow, density = mesh
    pixels, offset, size = atlas
    texel, lit = np.zeros(4), np.zeros(3)
    levels = offset.shape[1]
    for i in range(prim.shape[0]):
        t = prim[i]
        if t < 0 or kind[t] == SKY:
            continue
        b1, b2 = bary[i, 0], bary[i, 1]
        b0 = 1.0 - b1 - b2
        cosine = 0.0
        for c in range(3):
            cosine += directions[i, c] * normal[t, c]
        # half the stretch of an oblique footprint: between blurring along and aliasing across
        footprint = distance[i] * pixel_rad / np.sqrt(max(abs(cosine), 0.02))
        k = _level(footprint, density[t], levels)
        u = b0 * uv[t, 0, 0] + b1 * uv[t, 1, 0] + b2 * uv[t, 2, 0]
        v = b0 * uv[t, 0, 1] + b1 * uv[t, 1, 1] + b2 * uv[t, 2, 1]
        j = texture[t]
        _light(t, (b0, b1, b2), light, lit)
        _sample(pixels, offset[j, k], size[j, k, 0], size[j, k, 1], u, v, texel)
        for c in range(3):
            out[i, c] = texel[c] / 255.0 * lit[c]
        j = glow[t]
        if j >= 0:
            _sample(pixels, offset[j, k], size[j, k, 0], size[j, k, 1], u, v, texel)
            for c in range(3):
                out[i, c] += texel[c] / 255.0
