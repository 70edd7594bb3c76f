"""Numba kernels that carry the gradients of the ellipses back to the Gaussians.

Each Gaussian adds up the rows that its tiles left and writes to its own gradient only.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import helper, kernel
from onescene.splatting.numba_project import (
    half_ellipse,
    jacobian_rows,
    new_basis,
    rotation,
    sh_basis,
    viewing_direction,
)


@helper
def add_rows(rows, first, last):
    """Sums the rows that the tiles left for one ellipse: with u and v as they are, not a sixteenth of them."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = at.ZERO
    for row in range(first, last):
        s0 += rows[row, 0]
        s1 += rows[row, 1]
        s2 += rows[row, 2]
        s3 += rows[row, 3]
        s4 += rows[row, 4]
        s5 += rows[row, 5]
        s6 += rows[row, 6]
        s7 += rows[row, 7]
        s8 += rows[row, 8]
        s9 += rows[row, 9]
    a, b = at.SIXTEEN, at.SIXTEEN * at.SIXTEEN
    return a * s0, a * s1, b * s2, b * s3, b * s4, s5, s6, s7, s8, s9


@helper
def colour_backward(sh, i, direction, basis, grad_rgb, grad_sh):
    """Adds the gradient of the coefficients; returns that of the centre, which moves the viewing direction."""
    x, y, z, inverse = direction
    count = sh.shape[1]
    sh_basis(x, y, z, count, basis)
    for k in range(count):
        for c in range(3):
            grad_sh[i, k, c] += basis[k] * grad_rgb[c]
    if count == 1:
        return at.ZERO, at.ZERO, at.ZERO
    g = basis  # from here on: dL/d(basis k)
    for k in range(1, count):
        g[k] = sh[i, k, 0] * grad_rgb[0] + sh[i, k, 1] * grad_rgb[1] + sh[i, k, 2] * grad_rgb[2]
    gx, gy, gz = -at.S1 * g[3], -at.S1 * g[1], at.S1 * g[2]
    if count > 4:
        gx += at.S20 * (y * g[4] - z * g[7]) + at.TWO * at.S22 * x * g[8]
        gy += at.S20 * (x * g[4] - z * g[5]) - at.TWO * at.S22 * y * g[8]
        gz += at.SIX * at.S21 * z * g[6] - at.S20 * (y * g[5] + x * g[7])
    if count > 9:
        five, square = at.FIVE * z * z - at.ONE, x * x - y * y
        gx += at.S31 * y * z * g[10] - at.SIX * at.S30 * x * y * g[9] - at.S32 * five * g[13]
        gx += at.TWO * at.S34 * x * z * g[14] - at.THREE * at.S30 * square * g[15]
        gy += at.S31 * x * z * g[10] - at.THREE * at.S30 * square * g[9] - at.S32 * five * g[11]
        gy += at.SIX * at.S30 * x * y * g[15] - at.TWO * at.S34 * y * z * g[14]
        gz += at.S31 * x * y * g[10] - at.TEN * at.S32 * z * (y * g[11] + x * g[13])
        gz += at.S33 * (at.FIFTEEN * z * z - at.THREE) * g[12] + at.S34 * square * g[14]
    along = gx * x + gy * y + gz * z  # the length of the direction does not matter
    return (gx - along * x) * inverse, (gy - along * y) * inverse, (gz - along * z) * inverse


@helper
def quat_backward(quats, i, g, grad_quats):
    """Adds the gradient of a quaternion of any length, given that of its rotation matrix (row by row)."""
    w, x, y, z = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
    inverse = at.ONE / max(np.sqrt(w * w + x * x + y * y + z * z), at.TINY)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    gw = at.TWO * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1]))
    gx = at.TWO * (w * (g[7] - g[5]) - at.TWO * x * (g[4] + g[8]) + y * (g[1] + g[3]) + z * (g[2] + g[6]))
    gy = at.TWO * (w * (g[2] - g[6]) + x * (g[1] + g[3]) - at.TWO * y * (g[0] + g[8]) + z * (g[5] + g[7]))
    gz = at.TWO * (w * (g[3] - g[1]) + x * (g[2] + g[6]) + y * (g[5] + g[7]) - at.TWO * z * (g[0] + g[4]))
    along = gw * w + gx * x + gy * y + gz * z
    grad_quats[i, 0] += (gw - along * w) * inverse
    grad_quats[i, 1] += (gx - along * x) * inverse
    grad_quats[i, 2] += (gy - along * y) * inverse
    grad_quats[i, 3] += (gz - along * z) * inverse


@helper
def jacobian_backward(gu, gv, camera, point):
    """What flows to the centre in the camera through the clamped Jacobian.

    Args:
        gu: Gradient of the Jacobian's first row, in world axes.
        gv: Gradient of its second row.
        camera: Flat camera array.
        point: The centre in the camera.
    """
    j00 = camera[0] * gu[0] + camera[1] * gu[1] + camera[2] * gu[2]
    j02 = camera[6] * gu[0] + camera[7] * gu[1] + camera[8] * gu[2]
    j11 = camera[3] * gv[0] + camera[4] * gv[1] + camera[5] * gv[2]
    j12 = camera[6] * gv[0] + camera[7] * gv[1] + camera[8] * gv[2]
    inverse_z = at.ONE / point[2]
    fx, fy = camera[at.FOCAL] * inverse_z * inverse_z, camera[at.FOCAL + 1] * inverse_z * inverse_z
    tan_x, tan_y = point[0] * inverse_z, point[1] * inverse_z
    inner_x = min(max(tan_x, camera[at.TAN_LOW]), camera[at.TAN_HIGH])
    inner_y = min(max(tan_y, camera[at.TAN_LOW + 1]), camera[at.TAN_HIGH + 1])
    gx = -fx * j02 if inner_x == tan_x else at.ZERO
    gy = -fy * j12 if inner_y == tan_y else at.ZERO
    gz = fx * inner_x * j02 + fy * inner_y * j12 - fx * j00 - fy * j11
    return gx, gy, gz - tan_x * gx - tan_y * gy


@helper
def ellipse_backward(sums, geometry, i, camera, point, grads):
    """Adds the gradients of quaternion and scales; returns that of the centre in the camera, its depth left out.

    Args:
        sums: What ``add_rows`` gives.
        geometry: Quats and scales of all Gaussians.
        i: Which Gaussian.
        camera: Flat camera array.
        point: Its centre in the camera.
        grads: Gradients of quats and scales, added to.
    """
    quats, scales = geometry
    grad_quats, grad_scales = grads
    # twice the gradient of the covariance: with (u, v) = C^-1 d, sigma = d.C^-1 d / 2 falls by u u^T / 2 per unit of C
    h0, h1, h2 = -sums[2], -sums[3], -sums[4]
    r = rotation(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
    u, v = jacobian_rows(camera, point)
    a, b, c, d, e, f = half_ellipse(u, v, r, (at.ONE, at.ONE, at.ONE))
    s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
    # rows of J R_camera R S, then one factor after the other
    gu0, gu1, gu2 = (h0 * a + h1 * d) * s0, (h0 * b + h1 * e) * s1, (h0 * c + h1 * f) * s2
    gv0, gv1, gv2 = (h1 * a + h2 * d) * s0, (h1 * b + h2 * e) * s1, (h1 * c + h2 * f) * s2
    grad_scales[i, 0] += gu0 * a + gv0 * d
    grad_scales[i, 1] += gu1 * b + gv1 * e
    grad_scales[i, 2] += gu2 * c + gv2 * f
    gu0, gu1, gu2, gv0, gv1, gv2 = gu0 * s0, gu1 * s1, gu2 * s2, gv0 * s0, gv1 * s1, gv2 * s2
    g = (
        *(u[0] * gu0 + v[0] * gv0, u[0] * gu1 + v[0] * gv1, u[0] * gu2 + v[0] * gv2),
        *(u[1] * gu0 + v[1] * gv0, u[1] * gu1 + v[1] * gv1, u[1] * gu2 + v[1] * gv2),
        *(u[2] * gu0 + v[2] * gv0, u[2] * gu1 + v[2] * gv1, u[2] * gu2 + v[2] * gv2),
    )
    quat_backward(quats, i, g, grad_quats)
    world_u = (
        r[0] * gu0 + r[1] * gu1 + r[2] * gu2, r[3] * gu0 + r[4] * gu1 + r[5] * gu2, r[6] * gu0 + r[7] * gu1 + r[8] * gu2
    )  # fmt: skip
    world_v = (
        r[0] * gv0 + r[1] * gv1 + r[2] * gv2, r[3] * gv0 + r[4] * gv1 + r[5] * gv2, r[6] * gv0 + r[7] * gv1 + r[8] * gv2
    )  # fmt: skip
    px, py, pz = jacobian_backward(world_u, world_v, camera, point)
    inverse_z = at.ONE / point[2]
    gx = -sums[0] * camera[at.FOCAL] * inverse_z  # the centre on the image
    gy = -sums[1] * camera[at.FOCAL + 1] * inverse_z
    return px + gx, py + gy, pz - (point[0] * gx + point[1] * gy) * inverse_z


@kernel
def project_backward(first, count, scene, camera, seen, rows, grads):
    """Adds the gradients of the Gaussians behind records first..first+count-1.

    Args:
        first: First record.
        count: How many.
        scene: Means, quats, scales, opacities, sh.
        camera: Flat camera array.
        seen: Records, boxes, first rows and Gaussians of the records.
        rows: [pairs, PAIR].
        grads: Gradients of the scene's tensors, added to.
    """
    means, quats, scales, _, sh = scene
    rec, boxes, base, ids = seen
    grad_means, grad_quats, grad_scales, grad_opacities, grad_sh = grads
    basis = new_basis()
    for r in range(first, first + count):
        i = ids[r]
        sums = add_rows(rows, base[r], base[r] + (boxes[r, 2] - boxes[r, 0]) * (boxes[r, 3] - boxes[r, 1]))
        mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
        point = (
            camera[0] * mx + camera[1] * my + camera[2] * mz + camera[at.TRANSLATION],
            camera[3] * mx + camera[4] * my + camera[5] * mz + camera[at.TRANSLATION + 1],
            rec[r, at.DEPTH],
        )
        gx, gy, gz = ellipse_backward(sums, (quats, scales), i, camera, point, (grad_quats, grad_scales))
        gz += sums[9]
        grad_rgb = (
            sums[6] if rec[r, at.RED] > at.ZERO else at.ZERO,
            sums[7] if rec[r, at.GREEN] > at.ZERO else at.ZERO,
            sums[8] if rec[r, at.BLUE] > at.ZERO else at.ZERO,
        )
        dx, dy, dz = colour_backward(sh, i, viewing_direction(means, i, camera), basis, grad_rgb, grad_sh)
        grad_means[i, 0] += camera[0] * gx + camera[3] * gy + camera[6] * gz + dx
        grad_means[i, 1] += camera[1] * gx + camera[4] * gy + camera[7] * gz + dy
        grad_means[i, 2] += camera[2] * gx + camera[5] * gy + camera[8] * gz + dz
        grad_opacities[i] += sums[5] / rec[r, at.OPACITY]
