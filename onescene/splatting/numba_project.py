"""Numba kernels that find the ellipses: project, cull and colour the Gaussians of one camera.

The mathematics is that of ``projection``; each kernel works on a share of the Gaussians and releases the GIL.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import helper, kernel
from onescene.splatting.numba_vectors import on_stack

new_basis = on_stack((16,), np.float32)


@helper
def sh_basis(x, y, z, count, basis):
    """Writes the first ``count`` real spherical harmonics of a unit direction."""
    basis[0] = at.S0
    if count > 1:
        basis[1], basis[2], basis[3] = -at.S1 * y, at.S1 * z, -at.S1 * x
    if count > 4:
        basis[4], basis[5], basis[7] = at.S20 * x * y, -at.S20 * y * z, -at.S20 * x * z
        basis[6], basis[8] = at.S21 * (at.THREE * z * z - at.ONE), at.S22 * (x * x - y * y)
    if count > 9:
        five = at.FIVE * z * z - at.ONE
        basis[9], basis[15] = -at.S30 * y * (at.THREE * x * x - y * y), -at.S30 * x * (x * x - at.THREE * y * y)
        basis[10], basis[14] = at.S31 * x * y * z, at.S34 * z * (x * x - y * y)
        basis[11], basis[13] = -at.S32 * y * five, -at.S32 * x * five
        basis[12] = at.S33 * z * (five - at.TWO)


@helper
def rotation(w, x, y, z):
    """Rotation matrix of a quaternion of any length, row by row."""
    scale = at.ONE / max(np.sqrt(w * w + x * x + y * y + z * z), at.TINY)
    w, x, y, z = w * scale, x * scale, y * scale, z * scale
    return (
        at.ONE - at.TWO * (y * y + z * z), at.TWO * (x * y - w * z), at.TWO * (x * z + w * y),
        at.TWO * (x * y + w * z), at.ONE - at.TWO * (x * x + z * z), at.TWO * (y * z - w * x),
        at.TWO * (x * z - w * y), at.TWO * (y * z + w * x), at.ONE - at.TWO * (x * x + y * y),
    )  # fmt: skip


@helper
def jacobian_rows(camera, point):
    """The rows of J R_camera: pixels per world unit along the world's axes, J clamped as in ``projection``."""
    inverse_z = at.ONE / point[2]
    fx, fy = camera[at.FOCAL] * inverse_z, camera[at.FOCAL + 1] * inverse_z
    gx = -fx * min(max(point[0] * inverse_z, camera[at.TAN_LOW]), camera[at.TAN_HIGH])
    gy = -fy * min(max(point[1] * inverse_z, camera[at.TAN_LOW + 1]), camera[at.TAN_HIGH + 1])
    u = (fx * camera[0] + gx * camera[6], fx * camera[1] + gx * camera[7], fx * camera[2] + gx * camera[8])
    v = (fy * camera[3] + gy * camera[6], fy * camera[4] + gy * camera[7], fy * camera[5] + gy * camera[8])
    return u, v


@helper
def half_ellipse(u, v, r, scale):
    """The rows of J R_camera R S (2 x 3), row by row: the product with its transpose is the covariance on the image."""
    return (
        (u[0] * r[0] + u[1] * r[3] + u[2] * r[6]) * scale[0],
        (u[0] * r[1] + u[1] * r[4] + u[2] * r[7]) * scale[1],
        (u[0] * r[2] + u[1] * r[5] + u[2] * r[8]) * scale[2],
        (v[0] * r[0] + v[1] * r[3] + v[2] * r[6]) * scale[0],
        (v[0] * r[1] + v[1] * r[4] + v[2] * r[7]) * scale[1],
        (v[0] * r[2] + v[1] * r[5] + v[2] * r[8]) * scale[2],
    )


@helper
def reach(camera):
    """What bounds how far an ellipse reaches on the image, times its depth: per unit of its largest scale, in x and y.

    Its variance is at most (f / z * largest)^2 (1 + tan^2) + blur, and sqrt(a^2 + b) <= a + sqrt(b).
    """
    tan_x = max(-camera[at.TAN_LOW], camera[at.TAN_HIGH])
    tan_y = max(-camera[at.TAN_LOW + 1], camera[at.TAN_HIGH + 1])
    per_x = at.REACH * camera[at.FOCAL] * np.sqrt(at.ONE + tan_x * tan_x)
    return per_x, at.REACH * camera[at.FOCAL + 1] * np.sqrt(at.ONE + tan_y * tan_y)


@helper
def surely_outside(point, largest, camera, per_scale):
    """True if no ellipse of this size can touch the image: a bound without the covariance, a root or a division."""
    x, y, z = point
    blur = at.REACH_BLUR * z
    u, v = camera[at.FOCAL] * x + camera[at.CENTRE] * z, camera[at.FOCAL + 1] * y + camera[at.CENTRE + 1] * z
    reach_x, reach_y = per_scale[0] * largest + blur, per_scale[1] * largest + blur
    beside = (u + reach_x < at.ZERO) | (u - reach_x > camera[at.SIZE] * z)
    return beside | (v + reach_y < at.ZERO) | (v - reach_y > camera[at.SIZE + 1] * z)


@helper
def viewing_direction(means, i, camera):
    """Unit vector from the camera to a Gaussian in the world, and the inverse of its length."""
    dx, dy, dz = (
        means[i, 0] - camera[at.ORIGIN],
        means[i, 1] - camera[at.ORIGIN + 1],
        means[i, 2] - camera[at.ORIGIN + 2],
    )
    inverse = at.ONE / max(np.sqrt(dx * dx + dy * dy + dz * dz), at.TINY)
    return dx * inverse, dy * inverse, dz * inverse, inverse


@helper
def colour(sh, i, direction, basis):
    """RGB of a Gaussian seen along a unit direction, clamped at 0."""
    count = sh.shape[1]
    sh_basis(direction[0], direction[1], direction[2], count, basis)
    red, green, blue = at.HALF, at.HALF, at.HALF
    for k in range(count):
        red += basis[k] * sh[i, k, 0]
        green += basis[k] * sh[i, k, 1]
        blue += basis[k] * sh[i, k, 2]
    return max(red, at.ZERO), max(green, at.ZERO), max(blue, at.ZERO)


@helper
def write_ellipse(record, centre, covariance, limit, half_y):
    """Fills in a record what says where the ellipse is; see the columns in ``numba_layout``."""
    xx, xy, yy, det = covariance
    inverse_det, inverse_xx = at.ONE / det, at.ONE / xx
    record[at.X], record[at.Y] = centre
    record[at.XX], record[at.YY] = yy * inverse_det * at.SIXTEENTH, xx * inverse_det * at.SIXTEENTH
    record[at.XY] = -xy * inverse_det * at.EIGHTH
    record[at.FADE] = at.FAINTEST - limit * at.EIGHTH
    slope = xy * inverse_xx
    thick = det * inverse_xx if det < at.HUGE else max(yy - xy * slope, at.BLUR)  # det may overflow
    record[at.SLOPE], record[at.CAP], record[at.BEND] = slope, at.TWO * limit * thick * at.SLACK_CAP, thick * inverse_xx
    record[at.TOP] = xy * half_y / yy


@kernel
def project(first, last, share, scene, camera, seen):
    """Projects Gaussians first..last-1; writes those in view to the start of the share's slice, in order."""
    means, quats, scales, opacities, sh = scene
    rec, boxes, keys, ids, counts = seen
    width, height = camera[at.SIZE], camera[at.SIZE + 1]
    per_scale = reach(camera)
    basis = new_basis()
    out = first
    for i in range(first, last):
        mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
        z = camera[6] * mx + camera[7] * my + camera[8] * mz + camera[at.TRANSLATION + 2]
        opacity = opacities[i]
        if z < camera[at.RANGE] or z > camera[at.RANGE + 1] or opacity < at.ALPHA_MIN:
            continue
        x = camera[0] * mx + camera[1] * my + camera[2] * mz + camera[at.TRANSLATION]
        y = camera[3] * mx + camera[4] * my + camera[5] * mz + camera[at.TRANSLATION + 1]
        largest = max(abs(scales[i, 0]), abs(scales[i, 1]), abs(scales[i, 2]))
        if surely_outside((x, y, z), largest, camera, per_scale):
            continue
        u = camera[at.FOCAL] * x / z + camera[at.CENTRE]
        v = camera[at.FOCAL + 1] * y / z + camera[at.CENTRE + 1]
        turn = rotation(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
        ju, jv = jacobian_rows(camera, (x, y, z))
        a, b, c, d, e, f = half_ellipse(ju, jv, turn, (scales[i, 0], scales[i, 1], scales[i, 2]))
        xx, xy, yy = a * a + b * b + c * c, a * d + b * e + c * f, d * d + e * e + f * f
        k, m, n = b * f - c * e, c * d - a * f, a * e - b * d
        minors = k * k + m * m + n * n
        det = minors + at.BLUR * (xx + yy) + at.BLUR_SQUARED
        xx, yy = xx + at.BLUR, yy + at.BLUR
        limit = np.float32(np.log(opacity / at.ALPHA_MIN))
        half_x, half_y = np.sqrt(at.TWO * limit * xx), np.sqrt(at.TWO * limit * yy)
        if u + half_x <= at.ZERO or u - half_x >= width or v + half_y <= at.ZERO or v - half_y >= height:
            continue
        write_ellipse(rec[out], (u, v), (xx, xy, yy, det), limit, half_y)
        rec[out, at.DEPTH], rec[out, at.OPACITY] = z, opacity
        rgb = colour(sh, i, viewing_direction(means, i, camera), basis)
        rec[out, at.RED], rec[out, at.GREEN], rec[out, at.BLUE] = rgb
        boxes[out, 0], boxes[out, 1] = max(u - half_x, at.ZERO) * at.PER_TILE, max(v - half_y, at.ZERO) * at.PER_TILE
        boxes[out, 2] = np.ceil(min(u + half_x, width) * at.PER_TILE)
        boxes[out, 3] = np.ceil(min(v + half_y, height) * at.PER_TILE)
        keys[out] = z
        ids[out] = i
        out += 1
    counts[share] = out - first
