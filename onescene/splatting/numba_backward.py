"""Numba kernels that carry the gradients of the ellipses back to the Gaussians.

Each Gaussian adds up the rows that its tiles left and writes to its own gradient only.
"""

from __future__ import annotations

import numpy as np

from onescene.splatting import numba_layout as at
from onescene.splatting.numba_compile import kernel
from onescene.splatting.numba_project import half_ellipse, rotation, sh_basis


@kernel
def first_rows(order, boxes, base):
    """Gives each ellipse as many rows as it touches tiles; ``base`` holds its first row."""
    row = 0
    for j in range(len(order)):
        record = order[j, 0]
        base[record] = row
        row += (boxes[record, 2] - boxes[record, 0]) * (boxes[record, 3] - boxes[record, 1])


@kernel
def colour_backward(sh, mean, camera, basis, grad_rgb, grad_sh, grad_mean):
    """Adds the gradients of the coefficients and, through the viewing direction, of the centre."""
    dx, dy, dz = mean[0] - camera[at.ORIGIN], mean[1] - camera[at.ORIGIN + 1], mean[2] - camera[at.ORIGIN + 2]
    scale = at.ONE / max(np.sqrt(dx * dx + dy * dy + dz * dz), at.TINY)
    x, y, z = dx * scale, dy * scale, dz * scale
    count = sh.shape[0]
    sh_basis(x, y, z, count, basis)
    for k in range(count):
        for c in range(3):
            grad_sh[k, c] += basis[k] * grad_rgb[c]
    if count == 1:
        return
    for k in range(1, count):  # from here on: dL/d(basis k)
        basis[k] = sh[k, 0] * grad_rgb[0] + sh[k, 1] * grad_rgb[1] + sh[k, 2] * grad_rgb[2]
    gx, gy, gz = -at.S1 * basis[3], -at.S1 * basis[1], at.S1 * basis[2]
    if count > 4:
        gx += at.S20 * (y * basis[4] - z * basis[7]) + at.TWO * at.S22 * x * basis[8]
        gy += at.S20 * (x * basis[4] - z * basis[5]) - at.TWO * at.S22 * y * basis[8]
        gz += -at.S20 * (y * basis[5] + x * basis[7]) + at.SIX * at.S21 * z * basis[6]
    if count > 9:
        five, square = at.FIVE * z * z - at.ONE, x * x - y * y
        gx += -at.SIX * at.S30 * x * y * basis[9] + at.S31 * y * z * basis[10] - at.S32 * five * basis[13]
        gx += at.TWO * at.S34 * x * z * basis[14] - at.THREE * at.S30 * square * basis[15]
        gy += -at.THREE * at.S30 * square * basis[9] + at.S31 * x * z * basis[10] - at.S32 * five * basis[11]
        gy += -at.TWO * at.S34 * y * z * basis[14] + at.SIX * at.S30 * x * y * basis[15]
        gz += at.S31 * x * y * basis[10] - at.TEN * at.S32 * z * (y * basis[11] + x * basis[13])
        gz += at.S33 * (at.FIFTEEN * z * z - at.THREE) * basis[12] + at.S34 * square * basis[14]
    along = gx * x + gy * y + gz * z  # the length of the direction does not matter
    grad_mean[0] += (gx - along * x) * scale
    grad_mean[1] += (gy - along * y) * scale
    grad_mean[2] += (gz - along * z) * scale


@kernel
def quat_backward(quat, g, grad_quat):
    """Adds the gradient of a quaternion of any length, given that of its rotation matrix (row by row)."""
    length = max(np.sqrt(quat[0] ** 2 + quat[1] ** 2 + quat[2] ** 2 + quat[3] ** 2), at.TINY)
    w, x, y, z = quat[0] / length, quat[1] / length, quat[2] / length, quat[3] / length
    gw = at.TWO * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1]))
    gx = at.TWO * (w * (g[7] - g[5]) - at.TWO * x * (g[4] + g[8]) + y * (g[1] + g[3]) + z * (g[2] + g[6]))
    gy = at.TWO * (w * (g[2] - g[6]) + x * (g[1] + g[3]) - at.TWO * y * (g[0] + g[8]) + z * (g[5] + g[7]))
    gz = at.TWO * (w * (g[3] - g[1]) + x * (g[2] + g[6]) + y * (g[5] + g[7]) - at.TWO * z * (g[0] + g[4]))
    along = gw * w + gx * x + gy * y + gz * z
    grad_quat[0] += (gw - along * w) / length
    grad_quat[1] += (gx - along * x) / length
    grad_quat[2] += (gy - along * y) / length
    grad_quat[3] += (gz - along * z) / length


@kernel
def jacobian_backward(gu, gv, r, scale, camera, point, grad_point):
    """Adds, to the gradient of the centre in the camera, what flows through the clamped Jacobian.

    Args:
        gu: Gradient of the first row of J A.
        gv: Gradient of the second row.
        r: Rotation of the Gaussian, row by row.
        scale: Its standard deviations.
        camera: Flat camera array.
        point: The centre in the camera.
        grad_point: Added to.
    """
    # gradient of the rows of J in the camera: B gu and B gv with B = R_camera R diag(scale)
    a0, a1, a2 = gu[0] * scale[0], gu[1] * scale[1], gu[2] * scale[2]
    b0, b1, b2 = gv[0] * scale[0], gv[1] * scale[1], gv[2] * scale[2]
    ax, ay, az = r[0] * a0 + r[1] * a1 + r[2] * a2, r[3] * a0 + r[4] * a1 + r[5] * a2, r[6] * a0 + r[7] * a1 + r[8] * a2
    bx, by, bz = r[0] * b0 + r[1] * b1 + r[2] * b2, r[3] * b0 + r[4] * b1 + r[5] * b2, r[6] * b0 + r[7] * b1 + r[8] * b2
    j00 = camera[0] * ax + camera[1] * ay + camera[2] * az
    j02 = camera[6] * ax + camera[7] * ay + camera[8] * az
    j11 = camera[3] * bx + camera[4] * by + camera[5] * bz
    j12 = camera[6] * bx + camera[7] * by + camera[8] * bz
    inverse_z = at.ONE / point[2]
    fx, fy = camera[at.FOCAL] * inverse_z * inverse_z, camera[at.FOCAL + 1] * inverse_z * inverse_z
    tan_x, tan_y = point[0] * inverse_z, point[1] * inverse_z
    low_x, high_x, low_y, high_y = (
        camera[at.TAN_LOW],
        camera[at.TAN_HIGH],
        camera[at.TAN_LOW + 1],
        camera[at.TAN_HIGH + 1],
    )
    grad_point[2] -= fx * j00 + fy * j11
    if low_x <= tan_x <= high_x:
        grad_point[0] -= fx * j02
        grad_point[2] += at.TWO * fx * tan_x * j02
    else:
        grad_point[2] += fx * min(max(tan_x, low_x), high_x) * j02
    if low_y <= tan_y <= high_y:
        grad_point[1] -= fy * j12
        grad_point[2] += at.TWO * fy * tan_y * j12
    else:
        grad_point[2] += fy * min(max(tan_y, low_y), high_y) * j12


@kernel
def ellipse_backward(sums, record, quat, scale, camera, point, grads):
    """Adds the gradients of quaternion and scales; fills that of the centre in the camera (but for its depth).

    Args:
        sums: The columns of a pair's row, added up over tiles.
        record: The ellipse.
        quat: Rotation of the Gaussian.
        scale: Its standard deviations.
        camera: Flat camera array.
        point: The centre in the camera.
        grads: Gradients of the point (filled), the quaternion and the scales (added to).
    """
    grad_point, grad_quat, grad_scale = grads
    xx, xy, yy = record[at.XX], record[at.XY], record[at.YY]
    gx, gy = -(xx * sums[0] + xy * sums[1]), -(xy * sums[0] + yy * sums[1])  # centre on the image
    inverse_z = at.ONE / point[2]
    fx, fy = camera[at.FOCAL] * inverse_z, camera[at.FOCAL + 1] * inverse_z
    grad_point[0], grad_point[1] = fx * gx, fy * gy
    grad_point[2] = -(fx * point[0] * gx + fy * point[1] * gy) * inverse_z
    # covariance: dL/dC = -Q G Q, Q the conic, G = 1/2 [sums 2, 3; 3, 4]
    p0, p1 = xx * sums[2] + xy * sums[3], xx * sums[3] + xy * sums[4]
    q0, q1 = xy * sums[2] + yy * sums[3], xy * sums[3] + yy * sums[4]
    h0, h1, h2 = -(p0 * xx + p1 * xy), -(p0 * xy + p1 * yy), -(q0 * xy + q1 * yy)  # twice dL/dC
    a, b, c, d, e, f = half_ellipse(quat, scale, camera, point[0], point[1], point[2])
    gu = (h0 * a + h1 * d, h0 * b + h1 * e, h0 * c + h1 * f)
    gv = (h1 * a + h2 * d, h1 * b + h2 * e, h1 * c + h2 * f)
    r = rotation(quat[0], quat[1], quat[2], quat[3])
    jacobian_backward(gu, gv, r, scale, camera, point, grad_point)
    # rows of J R_camera, then the gradient of the rotation and the scales
    gx, gy = -fx * min(max(point[0] * inverse_z, camera[at.TAN_LOW]), camera[at.TAN_HIGH]), at.ZERO
    gy = -fy * min(max(point[1] * inverse_z, camera[at.TAN_LOW + 1]), camera[at.TAN_HIGH + 1])
    u = (fx * camera[0] + gx * camera[6], fx * camera[1] + gx * camera[7], fx * camera[2] + gx * camera[8])
    v = (fy * camera[3] + gy * camera[6], fy * camera[4] + gy * camera[7], fy * camera[5] + gy * camera[8])
    g = (
        (u[0] * gu[0] + v[0] * gv[0]), (u[0] * gu[1] + v[0] * gv[1]), (u[0] * gu[2] + v[0] * gv[2]),
        (u[1] * gu[0] + v[1] * gv[0]), (u[1] * gu[1] + v[1] * gv[1]), (u[1] * gu[2] + v[1] * gv[2]),
        (u[2] * gu[0] + v[2] * gv[0]), (u[2] * gu[1] + v[2] * gv[1]), (u[2] * gu[2] + v[2] * gv[2]),
    )  # fmt: skip
    grad_scale[0] += r[0] * g[0] + r[3] * g[3] + r[6] * g[6]
    grad_scale[1] += r[1] * g[1] + r[4] * g[4] + r[7] * g[7]
    grad_scale[2] += r[2] * g[2] + r[5] * g[5] + r[8] * g[8]
    s0, s1, s2 = scale[0], scale[1], scale[2]
    scaled = (g[0] * s0, g[1] * s1, g[2] * s2, g[3] * s0, g[4] * s1, g[5] * s2, g[6] * s0, g[7] * s1, g[8] * s2)
    quat_backward(quat, scaled, grad_quat)


@kernel
def project_backward(first, count, scene, camera, seen, rows, grads):
    """Adds the gradients of the Gaussians behind records first..first+count-1.

    Args:
        first: First record.
        count: How many.
        scene: Means, quats, scales, opacities, sh.
        camera: Flat camera array.
        seen: Records, boxes, first rows and Gaussians of the records.
        rows: [pairs, SUMS].
        grads: Gradients of the scene's tensors, added to.
    """
    means, quats, scales, _, sh = scene
    records, boxes, base, ids = seen
    grad_means, grad_quats, grad_scales, grad_opacities, grad_sh = grads
    sums, basis, point = np.empty(at.SUMS, np.float32), np.empty(16, np.float32), np.empty(3, np.float32)
    grad_point, grad_rgb = np.empty(3, np.float32), np.empty(3, np.float32)
    for record in range(first, first + count):
        i = ids[record]
        sums[:] = at.ZERO
        size = (boxes[record, 2] - boxes[record, 0]) * (boxes[record, 3] - boxes[record, 1])
        for row in range(base[record], base[record] + size):
            for k in range(at.SUMS):
                sums[k] += rows[row, k]
        for k in range(3):
            point[k] = camera[at.TRANSLATION + k]
            for j in range(3):
                point[k] += camera[3 * k + j] * means[i, j]
            grad_rgb[k] = sums[6 + k] if records[record, at.RED + k] > at.ZERO else at.ZERO
        geometry = (grad_point, grad_quats[i], grad_scales[i])
        ellipse_backward(sums, records[record], quats[i], scales[i], camera, point, geometry)
        grad_point[2] += sums[9]
        for k in range(3):
            for j in range(3):
                grad_means[i, j] += camera[3 * k + j] * grad_point[k]
        grad_opacities[i] += sums[5]
        colour_backward(sh[i], means[i], camera, basis, grad_rgb, grad_sh[i], grad_means[i])
