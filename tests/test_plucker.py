"""Ray maps, normalised cameras and the noise schedule: by hand, invariances, slow twins, reference slices."""

import math

import pytest
import torch
from torch.testing import assert_close

from onescene.geometry.plucker import (
    camera_distance,
    default_intrinsics,
    normalise_cameras,
    normalised_intrinsics,
    plucker_maps,
)
from onescene.geometry.rotations import matrix_from_axis_angle, rigid
from onescene.models.seva_schedule import schedule_indices, sigma_schedule, sigma_table

F64 = torch.float64


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def poses(*batch, seed=0):
    return rigid(matrix_from_axis_angle(randn(*batch, 3, seed=seed)), randn(*batch, 3, seed=seed + 1))


def intrinsics(*batch):
    K = torch.eye(3, dtype=F64).repeat(*batch, 1, 1)
    K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2] = 1.1, 0.9, 0.4, 0.55
    return K


# --- ray maps --------------------------------------------------------------------------------------------------------


def test_ray_maps_by_hand():
    """A second camera one to the right: its central ray passes the first's centre at a moment of -y."""
    world_from_cam = torch.eye(4, dtype=F64).repeat(2, 1, 1)
    world_from_cam[1, 0, 3] = 1.0
    maps = plucker_maps(world_from_cam, default_intrinsics(90.0).double().repeat(2, 1, 1), (1, 1))
    assert_close(maps[0, :, 0, 0], torch.tensor([0, 0, 1, 0, 0, 0], dtype=F64))
    assert_close(maps[1, :, 0, 0], torch.tensor([0, 0, 1, 0, -1, 0], dtype=F64))


def test_the_first_camera_has_no_moments():
    maps = plucker_maps(poses(3), intrinsics(3), (4, 5))
    assert_close(maps[0, 3:], torch.zeros(3, 4, 5, dtype=F64), atol=1e-12, rtol=0)
    assert_close(maps[:, :3].norm(dim=1), torch.ones(3, 4, 5, dtype=F64))
    assert_close((maps[:, :3] * maps[:, 3:]).sum(1), torch.zeros(3, 4, 5, dtype=F64), atol=1e-12, rtol=0)


def test_ray_maps_do_not_see_the_world_s_frame():
    world_from_cam, moved = poses(3), poses(1, seed=8)
    assert_close(
        plucker_maps(moved @ world_from_cam, intrinsics(3), (4, 5)), plucker_maps(world_from_cam, intrinsics(3), (4, 5))
    )


def test_ray_maps_agree_with_a_loop_over_pixels():
    world_from_cam, K = poses(2), intrinsics(2)
    maps = plucker_maps(world_from_cam, K, (2, 3))
    for v in range(2):
        relative = torch.linalg.inv(world_from_cam[0]) @ world_from_cam[v]
        for row in range(2):
            for column in range(3):
                pixel = torch.tensor([(column + 0.5) / 3, (row + 0.5) / 2, 1], dtype=F64)
                ray = relative[:3, :3] @ torch.linalg.solve(K[v], pixel)
                ray = ray / ray.norm()
                expected = torch.cat((ray, torch.linalg.cross(relative[:3, 3], ray)))
                assert_close(maps[v, :, row, column], expected)


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_ray_maps_take_batches(batch):
    world_from_cam, K = poses(*batch, 3), intrinsics(*batch, 3)
    maps = plucker_maps(world_from_cam, K, (4, 5))
    assert maps.shape == (*batch, 3, 6, 4, 5)
    if batch:
        index = (0,) * (len(batch) - 1) + (1,)
        assert_close(maps[index], plucker_maps(world_from_cam[index], K[index], (4, 5)))


def test_gradcheck():
    world_from_cam, K = poses(2).requires_grad_(), intrinsics(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, k: plucker_maps(p, k, (2, 2)), (world_from_cam, K))
    assert torch.autograd.gradcheck(lambda p: normalise_cameras(p), world_from_cam)


def test_the_legacy_switch_drops_the_source_s_translation():
    world_from_cam = torch.eye(4, dtype=F64).repeat(2, 1, 1)
    world_from_cam[:, 0, 3] = torch.tensor([1.0, 3.0])
    maps = plucker_maps(world_from_cam, intrinsics(2), (3, 3), keep_source_translation=False)
    shifted = plucker_maps(torch.cat((torch.eye(4, dtype=F64)[None], world_from_cam)), intrinsics(3), (3, 3))
    assert_close(maps, shifted[1:])


@pytest.mark.usefixtures("shapes_unchecked")
def test_ray_maps_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="must have the same batch shape"):
        plucker_maps(poses(3), intrinsics(2), (4, 4))
    with pytest.raises(ValueError, match=r"hw must be two sizes >= 1, got \(0, 4\)"):
        plucker_maps(poses(2), intrinsics(2), (0, 4))
    with pytest.raises(ValueError, match="K_normalised must be invertible"):
        plucker_maps(poses(2), torch.zeros(2, 3, 3, dtype=F64), (4, 4))
    with pytest.raises(ValueError, match="must hold at least one camera, got none"):
        normalise_cameras(poses(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    """Half precision has no inverse and no quantile, and would put a ray pixels away."""
    cameras, K = poses(3).to(dtype), intrinsics(3).to(dtype)
    maps, moved = plucker_maps(cameras, K, (4, 6)), normalise_cameras(cameras)
    assert maps.dtype == moved.dtype == dtype
    assert_close(maps, plucker_maps(cameras.float(), K.float(), (4, 6)).to(dtype))
    assert_close(moved, normalise_cameras(cameras.float()).to(dtype))


def test_intrinsics_by_hand():
    K_px = torch.tensor([[100.0, 0, 60], [0, 100, 40], [0, 0, 1]])
    assert_close(normalised_intrinsics(K_px, (80, 120))[:2], torch.tensor([[100 / 120, 0, 0.5], [0, 1.25, 0.5]]))
    assert_close(default_intrinsics()[0, 0], torch.tensor(0.981305))
    assert_close(default_intrinsics(aspect=1.5)[1, 1], torch.tensor(1.471958))
    assert_close(default_intrinsics(aspect=0.6)[0, 0], torch.tensor(1.635509))
    with pytest.raises(ValueError, match="aspect must be > 0"):
        default_intrinsics(aspect=0.0)


# --- normalised cameras ----------------------------------------------------------------------------------------------


def test_the_first_camera_lands_at_the_scale():
    found = normalise_cameras(poses(7), camera_scale=3.0)
    assert_close(found[0, :3, 3].norm(), torch.tensor(3.0, dtype=F64))
    assert_close(found[:, :3, 3].mean(0), torch.zeros(3, dtype=F64), atol=1e-12, rtol=0)
    assert_close(found[:, :3, :3], poses(7)[:, :3, :3])


def test_a_camera_on_the_centre_multiplies_positions():
    world_from_cam = torch.eye(4, dtype=F64).repeat(3, 1, 1)
    world_from_cam[:, 0, 3] = torch.tensor([5.0, 4.0, 6.0])
    found = normalise_cameras(world_from_cam, camera_scale=2.0)
    assert_close(found[:, 0, 3], torch.tensor([0.0, -2.0, 2.0], dtype=F64))


def test_a_far_outlier_does_not_move_the_centre():
    world_from_cam = poses(60)
    scene = world_from_cam.clone()
    scene[17, :3, 3] = 1e4
    found = normalise_cameras(world_from_cam, scene)
    centre = torch.cat((world_from_cam[:17], world_from_cam[18:]))[:, :3, 3].mean(0)
    factor = 2 / (world_from_cam[0, :3, 3] - centre).norm()
    assert_close(found[:, :3, 3], (world_from_cam[:, :3, 3] - centre) * factor)


def test_a_reference_slice_of_normalised_cameras():
    centres = [[4.007637, -0.1462699, 2.3364317], [2.9703894, -2.8885598, 1.4733484], [1.9334036, 0.4779269, 2.4125357]]
    centres += [[0.1156099, -0.930619, 2.1366382], [2.0511715, 1.0774503, 2.026106], [4.780039, -0.2112924, -0.1511927]]
    scene = torch.eye(4).repeat(6, 1, 1)
    scene[:, :3, 3] = torch.tensor(centres)
    found = normalise_cameras(scene[:5], scene, camera_scale=0.1)[:2, :3, 3]
    assert_close(
        found, torch.tensor([[0.0891212, 0.0189806, 0.0411965], [0.0213789, -0.1601174, -0.0151712]]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("camera_scale", [0.0, -1.0, math.nan])
def test_normalising_needs_a_positive_scale(camera_scale):
    with pytest.raises(ValueError, match="camera_scale must be > 0 and finite, got"):
        normalise_cameras(poses(3), camera_scale=camera_scale)


def test_camera_distance_by_hand():
    a, b = torch.eye(4, dtype=F64)[None], torch.eye(4, dtype=F64).repeat(3, 1, 1)
    b[1, :3, :3] = matrix_from_axis_angle(torch.tensor([0, math.pi / 3, 0], dtype=F64))
    b[2, :3, :3], b[2, :3, 3] = torch.diag(torch.tensor([-1.0, 1, -1])), torch.tensor([3.0, 4, 0])
    rotation_deg, distance = camera_distance(a, b)
    assert_close(rotation_deg, torch.tensor([[0.0, 60.0, 180.0]], dtype=F64))
    assert_close(distance, torch.tensor([[0.0, 0.0, 5.0]], dtype=F64))


# --- noise schedule --------------------------------------------------------------------------------------------------


def test_reference_slices_of_the_schedule():
    assert_close(
        sigma_table()[[0, 19, 499, 999]], torch.tensor([0.0246486, 0.1634246, 9.35266, 84.91633]), atol=1e-7, rtol=1e-6
    )
    assert schedule_indices(50).tolist()[:4] == [999, 979, 959, 939]
    assert schedule_indices(25).tolist()[-2:] == [79, 39]
    assert_close(sigma_schedule(25)[[0, 1, 12, 24, 25]], torch.tensor([84.91633, 66.978676, 10.075219, 0.3141178, 0.0]))


@pytest.mark.parametrize("steps", [1, 7, 50, 1000])
def test_schedules_descend_to_zero(steps):
    sigmas = sigma_schedule(steps)
    assert sigmas.shape == (steps + 1,)
    assert float(sigmas[0]) == float(sigma_table()[-1]) and float(sigmas[-1]) == 0
    assert bool((sigmas.diff() < 0).all())


@pytest.mark.parametrize("steps", [0, 1001, 2.5])
def test_a_schedule_has_1_to_1000_steps(steps):
    with pytest.raises(ValueError, match="steps must be a whole number from 1 to 1000, got"):
        sigma_schedule(steps)
