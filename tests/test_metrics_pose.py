"""Pose metrics against cases done by hand, closed forms and invariances."""

from __future__ import annotations

import math

import pytest
import torch

from onescene.metrics import POSE_ALIGNS, pose_errors, umeyama, worldscore_camera_errors


def rotation(axis: str, angle_rad: float) -> torch.Tensor:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = torch.eye(3, dtype=torch.float64)
    out[i, i], out[j, j], out[i, j], out[j, i] = c, c, -s, s
    return out


def trajectory(frames: int = 20) -> torch.Tensor:
    """A walk on a helix, looking around."""
    poses = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    for i in range(frames):
        a = 0.3 * i
        poses[i, :3, :3] = rotation("y", a) @ rotation("x", 0.2 * math.sin(a))
        poses[i, :3, 3] = torch.tensor([math.cos(a), 0.05 * i, math.sin(a)], dtype=torch.float64)
    return poses


def moved(poses: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """The same trajectory in another world frame and unit."""
    world = torch.eye(4, dtype=torch.float64)
    world[:3, :3] = rotation("x", 0.7) @ rotation("z", -1.1)
    world[:3, 3] = torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64)
    out = poses.clone()
    out[:, :3, 3] *= scale
    return world @ out


def test_by_hand() -> None:
    true = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    estimated = true.clone()
    estimated[1, :3, :3] = rotation("y", math.radians(60))
    estimated[1, :3, 3] = torch.tensor([3.0, 4.0, 0.0])
    got = pose_errors(estimated, true)
    assert got["rot_err_rad_mean_none"] == pytest.approx(math.pi / 3 / 2)
    assert got["rot_err_deg_mean_none"] == pytest.approx(30)
    assert got["trans_err_mean_none"] == pytest.approx(2.5)
    # |R - I|_F^2 = 2 (3 - tr R) = 2 (3 - 2) and |t|^2 = 25
    assert got["cam_mc_mean_none"] == pytest.approx(math.sqrt(2 + 25) / 2)
    total = pose_errors(estimated, true, reduce="sum")
    assert total["rot_err_rad_sum_none"] == pytest.approx(math.pi / 3)
    assert all(type(value) is float for value in got.values())


@pytest.mark.parametrize("align", POSE_ALIGNS)
def test_equal_trajectories_have_no_error(align: str) -> None:
    poses = trajectory()
    assert max(pose_errors(poses, poses, align).values()) < 1e-7


def test_each_alignment_forgives_what_it_names_and_no_more() -> None:
    true = trajectory()
    same_unit, other_unit = moved(true), moved(true, 2.5)
    assert pose_errors(same_unit, true)["trans_err_mean_none"] > 1
    assert max(pose_errors(same_unit, true, "first").values()) < 1e-7
    assert pose_errors(other_unit, true, "first")["trans_err_mean_first"] > 0.5
    for align in ("first_scale", "furthest_scale", "similarity"):
        assert max(pose_errors(other_unit, true, align).values()) < 1e-7


def test_small_angles_keep_their_digits() -> None:
    true = trajectory(3)
    estimated = true.clone()
    estimated[:, :3, :3] = estimated[:, :3, :3] @ rotation("z", 1e-9)
    assert pose_errors(estimated, true)["rot_err_rad_mean_none"] == pytest.approx(1e-9, rel=1e-5)
    half_turn = true.clone()
    half_turn[:, :3, :3] = half_turn[:, :3, :3] @ rotation("x", math.pi)
    assert pose_errors(half_turn, true)["rot_err_rad_mean_none"] == pytest.approx(math.pi)


def test_furthest_scale_is_in_units_of_each_reach() -> None:
    true = torch.eye(4).repeat(3, 1, 1)
    true[:, 2, 3] = torch.tensor([0.0, 1.0, 4.0])
    estimated = torch.eye(4).repeat(3, 1, 1)
    estimated[:, 2, 3] = torch.tensor([0.0, 1.0, 2.0])  # by its own reach 0, 1/2, 1 against 0, 1/4, 1
    assert pose_errors(estimated, true, "furthest_scale", reduce="sum")["trans_err_sum_furthest_scale"] == 0.25


def test_first_scale_is_least_squares() -> None:
    true, estimated = trajectory(), moved(trajectory(), 0.4)
    estimated[:, :3, 3] += 0.05 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
    relative = [torch.linalg.inv(x[:1]) @ x for x in (estimated, true)]
    p, g = relative[0][:, :3, 3], relative[1][:, :3, 3]
    scale = torch.linalg.lstsq(p.reshape(-1, 1), g.reshape(-1, 1)).solution.item()
    wanted = (scale * p - g).norm(dim=1).mean().item()
    assert pose_errors(estimated, true, "first_scale")["trans_err_mean_first_scale"] == pytest.approx(wanted)


def test_umeyama_recovers_a_similarity_and_beats_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    turn = rotation("x", 1.2) @ rotation("y", -2.0)
    target = 0.3 * points @ turn.T + torch.tensor([1.0, 2.0, 3.0])
    scale, found, translation = umeyama(points, target)
    torch.testing.assert_close(found, turn)
    torch.testing.assert_close(scale, torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(scale * points @ found.T + translation, target)
    mirrored = target * torch.tensor([1.0, 1.0, -1.0])  # no rotation reaches it: det must stay +1
    scale, found, translation = umeyama(points, mirrored)
    assert torch.linalg.det(found).item() == pytest.approx(1.0)
    best = (scale * points @ found.T + translation - mirrored).square().sum()
    for axis in "xyz":
        for factor, angle in ((1.02, 0.0), (0.98, 0.0), (1.0, 0.03), (1.0, -0.03)):
            near = factor * scale * points @ (rotation(axis, angle) @ found).T
            near = near + mirrored.mean(0) - near.mean(0)
            assert (near - mirrored).square().sum() >= best
    assert umeyama(points, target, with_scale=False).scale == 1


def test_every_keeps_each_nth_frame() -> None:
    true, estimated = trajectory(20), moved(trajectory(20), 1.3)
    got = pose_errors(estimated, true, "first", every=10.0)
    assert got == pose_errors(estimated[[0, 10]], true[[0, 10]], "first")


def test_worldscore_by_hand() -> None:
    true = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    true[:, 2, 3] = torch.tensor([0.0, 2.0, 4.0, 6.0])
    estimated = true.clone()
    estimated[:, 2, 3] = torch.tensor([0.0, 1.0, 2.0, 3.5])  # sum of |g - 2 p| is least at c = 2 (a median, not a mean)
    estimated[3, :3, :3] = rotation("y", math.radians(12))
    got = worldscore_camera_errors(estimated, true)
    assert got["trans_err_mean_worldscore"] == pytest.approx(0.5 / 4)
    assert got["rot_err_deg_mean_worldscore"] == pytest.approx(3.0)
    assert got["camera_score_worldscore"] == pytest.approx(math.sqrt((1 - 3 / 15) * (1 - 0.125 / 0.5)))


def test_errors_name_the_argument() -> None:
    poses = trajectory(4)
    line = torch.eye(4).repeat(4, 1, 1)
    line[:, 2, 3] = torch.arange(4.0)
    with pytest.raises(ValueError, match="align must be one of none"):
        pose_errors(poses, poses, "sim3")
    with pytest.raises(ValueError, match="reduce must be"):
        pose_errors(poses, poses, reduce="max")
    for every in (0, 1.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="every must be"):
            pose_errors(poses, poses, every=every)
    with pytest.raises(ValueError, match=r"estimated\[0\] must have a finite matrix"):
        pose_errors(poses * float("nan"), poses)
    with pytest.raises(ValueError, match=r"true\[2\] must be a rotation and a shift, but R R"):
        broken = poses.clone()
        broken[2, :3, :3] *= 1.1
        pose_errors(poses, broken)
    with pytest.raises(ValueError, match=r"true\[1\] must be .* a mirror image"):
        mirrored = poses.clone()
        mirrored[1, :3, 0] *= -1
        worldscore_camera_errors(poses, mirrored)
    with pytest.raises(ValueError, match=r"estimated\[3\] must have the last row"):
        projective = poses.clone()
        projective[3, 3, 0] = 0.5
        pose_errors(projective, poses)
    with pytest.raises(ValueError, match="try 'first_scale'"):
        pose_errors(line, line, "similarity")
    with pytest.raises(ValueError, match="estimated must move"):
        pose_errors(torch.eye(4).repeat(4, 1, 1), line, "first_scale")


@pytest.mark.usefixtures("shapes_unchecked")
def test_shape_errors_name_both_shapes() -> None:
    poses = trajectory(4)
    for call in (pose_errors, worldscore_camera_errors):
        with pytest.raises(ValueError, match=r"one shape, got \(3, 4, 4\) and \(4, 4, 4\)"):
            call(poses[:3], poses)
        with pytest.raises(
            ValueError, match=r"estimated must have shape \[N, 4, 4\], got|with N >= 1, got \(4, 3, 4\)"
        ):
            call(poses[:, :3], poses[:, :3])
    with pytest.raises(ValueError, match=r"must both have shape \[N, 3\]"):
        umeyama(torch.ones(4, 3), torch.ones(5, 3))
