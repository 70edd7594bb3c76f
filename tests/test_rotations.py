"""Rotations: cases by hand, round trips, singular points, slow twins."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from onescene.geometry import rotations as rot

F64 = torch.float64
HALF_TURNS = [(math.pi, 0, 0), (0, math.pi, 0), (0, 0, math.pi), (math.pi * 0.6, 0, math.pi * 0.8)]


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def vec(*values):
    return torch.tensor(values, dtype=F64)


def test_quarter_turns_by_hand():
    half = math.sqrt(0.5)
    right = rot.matrix_from_quaternion(vec(half, 0, half, 0))  # about y: forward becomes right
    assert_close(right @ vec(0, 0, 1), vec(1, 0, 0))
    assert_close(rot.quaternion_from_matrix(right), vec(half, 0, half, 0))
    assert_close(rot.axis_angle_from_matrix(right), vec(0, math.pi / 2, 0))


@pytest.mark.parametrize(
    ("angles_deg", "axis", "expected"),
    [
        ((90, 0, 0), (0, 0, 1), (1, 0, 0)),  # yaw: forward to the right
        ((0, 90, 0), (0, 0, 1), (0, -1, 0)),  # pitch: forward to the zenith
        ((0, 0, 90), (1, 0, 0), (0, 1, 0)),  # roll: the camera's right sinks
        ((90, 90, 0), (0, 1, 0), (1, 0, 0)),  # looking up, image-down is where the yaw looks
    ],
)
def test_yaw_pitch_roll_by_hand(angles_deg, axis, expected):
    rotation = rot.matrix_from_yaw_pitch_roll(torch.deg2rad(vec(*angles_deg)))
    assert_close(rotation @ vec(*axis), vec(*expected), atol=1e-12, rtol=0)


def test_identity():
    assert_close(rot.matrix_from_quaternion(vec(2, 0, 0, 0)), torch.eye(3, dtype=F64))
    assert_close(rot.matrix_from_quaternion(torch.zeros(4)), torch.eye(3))
    assert_close(rot.quaternion_from_matrix(torch.eye(3)), torch.tensor([1.0, 0, 0, 0]))
    assert_close(rot.axis_angle_from_matrix(torch.eye(3)), torch.zeros(3))
    assert_close(rot.matrix_from_axis_angle(torch.zeros(3)), torch.eye(3))
    assert_close(rot.look_at(torch.zeros(3), torch.tensor([0.0, 0, 7])), torch.eye(4))


@settings(deadline=None)
@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: math.hypot(*a) > 1e-3),
    angle=st.one_of(st.floats(0, math.pi - 1e-9), st.floats(0, 1e-6)),
)
def test_rotation_vectors_survive_a_round_trip(axis, angle):
    axis_angle = vec(*axis) / math.hypot(*axis) * angle
    back = rot.axis_angle_from_matrix(rot.matrix_from_axis_angle(axis_angle))
    assert_close(back, axis_angle, atol=1e-7, rtol=0)
    assert_close(rot.rotation_angle(rot.matrix_from_axis_angle(axis_angle)), vec(angle)[0], atol=1e-7, rtol=0)


@pytest.mark.parametrize("angle", [1e-9, 1e-3, 0.0199, 0.0201, 0.05])
def test_small_angles_are_exact_on_both_sides_of_the_series(angle):
    axis_angle = vec(0.6, 0, 0.8) * angle
    quats = vec(math.cos(angle / 2), 0.6 * math.sin(angle / 2), 0, 0.8 * math.sin(angle / 2))
    assert_close(rot.quaternion_from_axis_angle(axis_angle), quats, atol=0, rtol=1e-13)
    assert_close(rot.axis_angle_from_quaternion(quats), axis_angle, atol=0, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_conversions_keep_batch_and_dtype_and_agree_with_the_matrix_exponential(batch, dtype):
    axis_angle = randn(*batch, 3, dtype=dtype)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).reshape(*batch, 3, 3)
    matrix = rot.matrix_from_axis_angle(axis_angle)
    assert matrix.dtype == dtype
    tolerance = {"atol": 1e-6 if dtype == torch.float32 else 1e-12, "rtol": 0}
    assert_close(matrix, torch.linalg.matrix_exp(skew), **tolerance)
    quats = rot.quaternion_from_matrix(matrix)
    assert_close(rot.matrix_from_quaternion(quats * 3), matrix, **tolerance)
    assert_close(quats.norm(dim=-1), torch.ones(batch, dtype=dtype), **tolerance)
    assert bool((quats[..., 0] >= 0).all())


def test_products_of_quaternions_are_products_of_matrices():
    a, b = rot.normalise_quaternion(randn(5, 4)), rot.normalise_quaternion(randn(5, 4, seed=1))
    product = rot.matrix_from_quaternion(rot.quaternion_multiply(a, b))
    assert_close(product, rot.matrix_from_quaternion(a) @ rot.matrix_from_quaternion(b))
    back = rot.quaternion_multiply(a, rot.quaternion_conjugate(a))
    assert_close(back, vec(1, 0, 0, 0).expand(5, 4), atol=1e-12, rtol=0)


@pytest.mark.parametrize("axis_angle", HALF_TURNS)
def test_half_turns_are_exact_and_have_a_finite_gradient(axis_angle):
    matrix = rot.matrix_from_axis_angle(vec(*axis_angle)).requires_grad_()
    angle = rot.rotation_angle(matrix)
    assert_close(angle, vec(math.pi)[0], atol=1e-12, rtol=0)
    found = rot.axis_angle_from_matrix(matrix)
    assert_close(rot.matrix_from_axis_angle(found), matrix, atol=1e-12, rtol=0)
    (angle + found.sum() + rot.quaternion_from_matrix(matrix).sum()).backward()
    assert bool(torch.isfinite(matrix.grad).all())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_gradients_are_finite_at_the_identity_and_at_zero(dtype):
    matrix = torch.eye(3, dtype=dtype, requires_grad=True)
    (rot.rotation_angle(matrix) + rot.axis_angle_from_matrix(matrix).sum()).backward()
    axis_angle = torch.zeros(3, dtype=dtype, requires_grad=True)
    rot.matrix_from_axis_angle(axis_angle)[0, 1].backward()
    assert_close(axis_angle.grad, torch.tensor([0.0, 0.0, -1.0], dtype=dtype))  # the generator of z, not just finite
    quats = torch.zeros(4, dtype=dtype, requires_grad=True)
    rot.matrix_from_quaternion(quats).sum().backward()
    same = torch.tensor([1.0, 0, 0, 0], dtype=dtype, requires_grad=True)
    rot.slerp(same, same, 0.3).sum().backward()
    assert all(bool(torch.isfinite(leaf.grad).all()) for leaf in (matrix, quats, same))


def test_gradcheck():
    gradcheck = torch.autograd.gradcheck
    axis_angle, quats = randn(2, 3).requires_grad_(), randn(2, 4).requires_grad_()
    assert gradcheck(lambda v: rot.axis_angle_from_matrix(rot.matrix_from_axis_angle(v)), axis_angle)
    assert gradcheck(rot.axis_angle_from_quaternion, (quats.detach() * vec(1, 1e-3, 1e-3, 1e-3)).requires_grad_())
    assert gradcheck(lambda a, b: rot.slerp(a, b, 0.3), (quats, randn(2, 4, seed=3).requires_grad_()))
    assert gradcheck(rot.look_at, (axis_angle, randn(2, 3, seed=4).requires_grad_()))


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_slerp_agrees_with_the_sine_formula(batch, t):
    start, end = (rot.normalise_quaternion(randn(*batch, 4, seed=s)) for s in (5, 6))
    cos = (start * end).sum(-1, keepdim=True)
    nearer, angle = torch.where(cos < 0, -end, end), torch.acos(cos.abs())
    expected = (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * nearer) / torch.sin(angle)
    assert_close(rot.slerp(start, end, t), expected, atol=1e-12, rtol=0)


def test_slerp_broadcasts_times_and_takes_the_shorter_way():
    start, end = vec(1, 0, 0, 0), -rot.quaternion_from_axis_angle(vec(0, 0, 1))
    t = torch.linspace(0, 1, 5, dtype=F64)
    angles = rot.axis_angle_from_quaternion(rot.slerp(start, end, t))[:, 2]
    assert_close(angles, t)


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_look_at_centres_its_target_and_keeps_up_up(batch):
    position, target = randn(*batch, 3, seed=7), randn(*batch, 3, seed=8)
    world_from_cam = rot.look_at(position, target)
    rotation = world_from_cam[..., :3, :3]
    assert_close(rotation.transpose(-1, -2) @ rotation, torch.eye(3, dtype=F64).expand(*batch, 3, 3))
    assert_close(torch.linalg.det(rotation), torch.ones(batch, dtype=F64))
    seen = (rot.invert_rigid(world_from_cam)[..., :3, :] @ torch.cat((target, target[..., :1] * 0 + 1), -1)[..., None])[
        ..., 0
    ]
    assert_close(seen[..., :2], torch.zeros(*batch, 2, dtype=F64), atol=1e-12, rtol=0)
    assert_close(seen[..., 2], (target - position).norm(dim=-1))
    assert_close(rotation[..., 1, 0], torch.zeros(batch, dtype=F64), atol=1e-12, rtol=0)  # right is level
    assert bool((rotation[..., 1, 1] > 0).all())  # image-down goes down


@pytest.mark.parametrize(
    ("target", "image_up"), [((0, -1, 0), (0, 0, -1)), ((0, 1, 0), (0, 0, 1)), ((0, 0, 0), (0, -1, 0))]
)
def test_look_at_is_defined_where_the_roll_is_open(target, image_up):
    position, target = torch.zeros(3, dtype=F64, requires_grad=True), vec(*target).requires_grad_()
    world_from_cam = rot.look_at(position, target)
    assert_close(-world_from_cam[:3, 1], vec(*image_up))
    assert_close(torch.linalg.det(world_from_cam), vec(1)[0])
    world_from_cam.sum().backward()
    assert bool(torch.isfinite(position.grad).all() and torch.isfinite(target.grad).all())


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [1, -1])
def test_look_at_along_an_up_of_its_own(axis, sign):
    up = torch.eye(3, dtype=F64)[axis]
    world_from_cam = rot.look_at(torch.zeros(3, dtype=F64), sign * 2 * up, up)
    rotation = world_from_cam[:3, :3]
    assert_close(rotation.T @ rotation, torch.eye(3, dtype=F64))
    assert_close(rotation[:, 2], sign * up)


def test_transforms_compose_and_invert():
    a = rot.rigid(rot.matrix_from_axis_angle(randn(2, 3)), randn(2, 3, seed=1))
    b = rot.rigid(rot.matrix_from_axis_angle(randn(3, seed=2)), randn(3, seed=3))
    assert_close(rot.compose(a, b, rot.invert_rigid(b), rot.invert_rigid(a)), torch.eye(4, dtype=F64).expand(2, 4, 4))
    assert_close(rot.compose(a, b)[1], a[1] @ b)
    with pytest.raises(ValueError, match="at least one transform"):
        rot.compose()
