"""What the Numba kernels agree on: columns of their arrays, constants in float32.

A record is the ellipse of one visible Gaussian; a tile's planes lie in one flat array at constant offsets, which is
what lets LLVM turn the pixel loops into vector code.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting import projection, sh

TILE = 16  # tile side [px]; a row of it is one AVX-512 register
AREA = TILE * TILE

# Columns of a record, padded to a cache line: centre; conic, XX and YY a sixteenth of it and XY an eighth, so that at
# an offset (dx, dy) t = XX dx^2 + XY dx dy + YY dy^2 is sigma / 8; opacity, colour, depth; FADE = -ln(opacity) / 8,
# which makes alpha = exp(-8 (t + FADE)). Then the edge: beside the centre it lies at y = SLOPE x +- sqrt(CAP - BEND
# x^2), and its largest y is at x = TOP.
X, Y, XX, XY, YY, OPACITY, RED, GREEN, BLUE, DEPTH, FADE, SLOPE, CAP, BEND, TOP = range(15)
RECORD = 16

# Entries of the flat camera array: cam_from_world (rotation row by row, then translation), focal lengths, principal
# point, width and height, near and far, limits of x / z and y / z in the Jacobian, the camera's centre in the world.
TRANSLATION, FOCAL, CENTRE, SIZE, RANGE, TAN_LOW, TAN_HIGH, ORIGIN = 9, 12, 14, 16, 18, 20, 22, 24

# To blend, a tile is two strips of 8 columns, a strip 8 blocks of 8x2 pixels: 16 pixels in a row of a plane. An entry
# of the list of work is 16 times a record plus a block of the tile; WORK ellipses are looked at together.
STRIP, STRIP_AREA, BLOCK, BLOCKS, WORK = 8, 128, 16, 8, 32

# Offsets of a tile's planes: pixel centres, transmittance; forward: red, green, blue, depth; backward: the rest of
# <gradient, image>, and the gradients of red, green, blue, depth and alpha.
COLUMN, ROW, LIGHT = 0, AREA, 2 * AREA
OUT, PLANES = 3 * AREA, 7 * AREA
REST, GRAD, PLANES_BACKWARD = 3 * AREA, 4 * AREA, 9 * AREA

# Columns of what one (ellipse, tile) pair collects, padded to a cache line: sums over pixels of dL/dsigma times u, v,
# u^2, u v, v^2, where (u, v) = a sixteenth of conic times the pixel's offset; of -dL/dsigma, which is opacity times its
# gradient; then dL/d(red, green, blue, depth).
SUMS, PAIR = 10, 16

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
THREE, FIVE, SIX, TEN, FIFTEEN = np.float32(3), np.float32(5), np.float32(6), np.float32(10), np.float32(15)
EIGHTH, SIXTEENTH, SIXTEEN = np.float32(1 / 8), np.float32(1 / 16), np.float32(16)
PER_TILE, TINY = np.float32(1 / TILE), np.float32(1e-12)
BLUR, BLUR_SQUARED = np.float32(projection.BLUR_PX2), np.float32(projection.BLUR_PX2**2)
ALPHA_MIN, ALPHA_MAX = np.float32(projection.ALPHA_MIN), np.float32(projection.ALPHA_MAX)
LIGHT_MIN = np.float32(projection.TRANSMITTANCE_MIN)
REACH = np.float32(3.33)  # sqrt(2 ln 255): no ellipse reaches farther, in standard deviations
REACH_BLUR = np.float32(3.33 * projection.BLUR_PX2**0.5 + 1)  # the blur's part of it, and a pixel against rounding

# exp(-8 t) = p(t)^8: alpha >= 1/255 bounds t by ln(255) / 8 < 0.7, where this p of degree 5 is off by less than 1e-7.
FAINTEST = np.float32(np.log(255) / 8)
E0, E1, E2, E3, E4, E5 = (
    np.float32(c)
    for c in np.polynomial.Chebyshev.interpolate(lambda t: np.exp(-t), 5, [0, 0.70])
    .convert(kind=np.polynomial.Polynomial)
    .coef
)
# How much an ellipse's rows are widened against rounding: by pixels, by a share of its distance, by a share of CAP.
SLACK_PX, SLACK, SLACK_CAP, HUGE = np.float32(0.02), np.float32(1e-6), np.float32(1 + 4e-6), np.float32(1e37)

S0, S1 = np.float32(sh.C0), np.float32(sh.C1)
S20, S21, S22 = (np.float32(c) for c in sh.C2)
S30, S31, S32, S33, S34 = (np.float32(c) for c in sh.C3)
