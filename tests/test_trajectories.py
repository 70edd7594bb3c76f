"""Trajectories by name and through keyframes, and the free space they stay in."""

import math

import pytest
import torch
from torch.testing import assert_close

from onescene.geometry.equirect import directions_from_panorama
from onescene.geometry.perspective import intrinsics_from_fov
from onescene.geometry.plucker import camera_distance
from onescene.geometry.rotations import look_at, matrix_from_axis_angle, rigid, rotation_angle
from onescene.geometry.trajectories import (
    TRAJECTORIES,
    check_trajectory,
    fit_trajectory_scale,
    free_radius,
    keyframe_trajectory,
    make_trajectory,
)
from onescene.types import Cameras

F64 = torch.float64
EYE = torch.eye(4, dtype=F64)


def make(name, frames, **options):
    return make_trajectory(name, frames, **{"start": EYE, **options})


def steps_of(cameras):
    """Rotation [degrees] and way between neighbouring frames."""
    rotation_deg, way = camera_distance(cameras.world_from_cam, cameras.world_from_cam)
    return rotation_deg.diagonal(1), way.diagonal(1)


# --- by name ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAJECTORIES)
@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_every_trajectory_is_made_of_cameras(name, frames):
    cameras = make_trajectory(name, frames, hw=(30, 40), fov_deg=70.0)
    assert len(cameras) == frames and cameras.hw == (30, 40)
    rotation = cameras.world_from_cam[:, :3, :3]
    assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).repeat(frames, 1, 1), atol=1e-5, rtol=0)
    assert_close(torch.linalg.det(rotation), torch.ones(frames))
    assert_close(cameras.world_from_cam[:, 3], torch.tensor([0.0, 0, 0, 1]).repeat(frames, 1))
    assert_close(cameras.K[0], intrinsics_from_fov(70.0, (30, 40)))
    assert cameras.world_from_cam.dtype == cameras.K.dtype == torch.float32


@pytest.mark.parametrize("name", [n for n in TRAJECTORIES if n != "demo"])
def test_trajectories_begin_at_their_start(name):
    start = look_at(torch.tensor([1.0, 2, 3], dtype=F64), torch.tensor([0.0, 1, 9], dtype=F64))
    assert_close(make(name, 7, start=start).world_from_cam, start @ make(name, 7).world_from_cam)
    assert_close(make(name, 7).world_from_cam[0], EYE, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_the_scale_multiplies_positions_alone(name):
    one, three = make(name, 9).world_from_cam, make(name, 9, scale_world=3.0).world_from_cam
    assert_close(three[:, :3, 3], 3 * one[:, :3, 3])
    assert_close(three[:, :3, :3], one[:, :3, :3])


@pytest.mark.parametrize(
    ("name", "convention", "frames", "frame", "position"),
    [
        ("orbit", "paper", 4, 1, (10, 0, 10)),
        ("orbit", "release", 4, 0, (0, 0, 0.3)),
        ("lemniscate", "paper", 4, 1, (-10 / math.sqrt(3), 0, 0)),
        ("spiral", "paper", 8, 2, (-0.957946, 0, 0.349772)),
        ("dolly zoom-in", "paper", 5, 4, (0, 0, -0.99)),
        ("dolly zoom-out", "paper", 5, 4, (0, 0, 0.99)),
        ("move-up", "paper", 5, 4, (0, -0.99, 0)),
        ("move-left", "release", 5, 4, (-0.64, 0, 0)),
        ("move-forwardup", "release", 5, 4, (0, 0.0064, 0.639968)),
        ("demo", "paper", 160, 39, (-0.1095041, 0, 0.3086182)),
        ("demo", "paper", 160, 159, (-0.2619521, 0.0102629, 0.8317626)),
    ],
)
def test_reference_slices_of_the_presets(name, convention, frames, frame, position):
    found = make(name, frames, convention=convention).world_from_cam[frame, :3, 3]
    assert_close(found, torch.tensor(position, dtype=F64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "factor"), [("zoom-in", 0.28), ("dolly zoom-out", 1.5), ("orbit", 1.0)])
def test_zooms_change_the_field_of_view(name, factor):
    cameras = make(name, 5, hw=(40, 60))
    fov_deg = torch.rad2deg(2 * torch.atan(30 / cameras.K[:, 0, 0]))
    assert_close(fov_deg, torch.linspace(54, 54 * factor, 5, dtype=F64))


@pytest.mark.parametrize("name", ["orbit", "lemniscate", "move-left"])
def test_presets_keep_their_point_in_the_middle(name):
    cameras = make(name, 9)
    target = cameras.cam_from_world @ torch.tensor([0.0, 0, 10, 1], dtype=F64)
    assert_close(target[:, :2], torch.zeros(9, 2, dtype=F64), atol=1e-9, rtol=0)
    assert bool((target[:, 2] > 0).all())


def test_the_demo_chains_its_parts():
    cameras = make("demo", 10)  # 3, 3, 2 and 2 frames
    for last, first in ((2, 3), (5, 6), (7, 8)):
        assert_close(cameras.world_from_cam[last], cameras.world_from_cam[first], atol=1e-12, rtol=0)


@pytest.mark.parametrize("frames", [48, 161])
def test_the_walk_goes_forward_turns_a_little_and_comes_back(frames):
    cameras = make("walk", frames, scale_world=2.0)
    positions = cameras.world_from_cam[:, :3, 3]
    assert float(positions.norm(dim=-1).max()) == pytest.approx(1.8, rel=1e-2)  # free radius 2
    assert float(positions[:, 2].min()) >= 0
    assert_close(cameras.world_from_cam[-1], EYE, atol=1e-12, rtol=0)
    turn_deg = torch.rad2deg(rotation_angle(cameras.world_from_cam[:, :3, :3]))
    assert 10 < float(turn_deg.max()) < 20
    rotation_deg, way = steps_of(cameras)
    assert float(way.max()) < 3 * float(way.mean()) and float(rotation_deg.max()) < 2.5
    assert float(positions.diff(dim=0).diff(dim=0).norm(dim=-1).max()) < 0.25 * float(way.max())


def test_looking_around_is_a_full_turn_in_place():
    cameras = make("look-around", 36)
    assert_close(cameras.world_from_cam[:, :3, 3], torch.zeros(36, 3, dtype=F64))
    forward = cameras.world_from_cam[:, :3, 2]
    heading = torch.rad2deg(torch.atan2(forward[:, 0], forward[:, 2])) % 360
    assert_close(heading, torch.arange(36, dtype=F64) * 10)
    assert 5 < float(torch.rad2deg(torch.asin(-forward[:, 1])).max()) < 15
    assert_close(cameras.world_from_cam[:, 1, 0], torch.zeros(36, dtype=F64), atol=1e-12, rtol=0)  # level


def test_names_with_and_without_a_blank():
    assert check_trajectory("dolly-zoom-in") == check_trajectory("dolly zoom-in") == "dolly zoom-in"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "fly"}, r"trajectory must be one of walk, look-around, .*, got 'fly'"),
        ({"frames": 0}, "frames must be a whole number >= 1, got 0"),
        ({"frames": 2.5}, "frames must be a whole number >= 1, got 2.5"),
        ({"frames": math.inf}, "frames must be a whole number >= 1, got inf"),
        ({"frames": math.nan}, "frames must be a whole number >= 1, got nan"),
        ({"fov_deg": 170.0}, r"fov_deg must be inside \(10, 170\) degrees, got 170.0"),
        ({"name": "zoom-out", "fov_deg": 120.0}, "fov_deg must be below 113.3 degrees for trajectory 'zoom-out'"),
        ({"scale_world": 0.0}, "scale_world must be > 0 and finite, got 0.0"),
        ({"convention": "SEVA"}, "convention must be 'paper' or 'release', got 'SEVA'"),
    ],
)
def test_bad_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_trajectory(**{"name": "walk", "frames": 4, **arguments})


# --- keyframes -------------------------------------------------------------------------------------------------------


def some_keys(count=4, seed=0, fov_deg=(50.0, 80.0)):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(count, 3, generator=generator, dtype=F64) * 2
    rotation = matrix_from_axis_angle(torch.randn(count, 3, generator=generator, dtype=F64))
    K = intrinsics_from_fov(torch.linspace(*fov_deg, count, dtype=F64), (20, 30))
    return Cameras(world_from_cam=rigid(rotation, positions), K=K, hw=(20, 30))


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("closed", [False, True])
def test_every_key_is_passed(count, closed):
    keys = some_keys(count)
    segments = count if closed else count - 1
    path = keyframe_trajectory(keys, 10 * segments + (not closed), constant_speed=False, closed=closed)
    at_keys = path[torch.arange(count) * 10]
    assert_close(at_keys.world_from_cam, keys.world_from_cam, atol=1e-9, rtol=0)
    assert_close(at_keys.K, keys.K)


def test_a_constant_speed_path_passes_every_key_too():
    keys = some_keys(4)
    path = keyframe_trajectory(keys, 4001)
    rotation_deg, distance = camera_distance(path.world_from_cam, keys.world_from_cam)
    nearest = distance.argmin(0)
    assert float(distance.min(0).values.max()) < 3e-3
    assert float(rotation_deg[nearest, torch.arange(4)].max()) < 0.2
    assert nearest.tolist() == sorted(nearest.tolist())


def uneven_keys_around_a_point():
    angle = torch.tensor([0.0, 0.4, 1.9, 2.6, 4.4], dtype=F64)
    positions = torch.stack((2 * angle.sin(), 0.3 * angle.cos(), 2 * angle.cos()), dim=-1)
    return Cameras(world_from_cam=look_at(positions, torch.zeros(3, dtype=F64)), K=some_keys(5).K, hw=(20, 30))


@pytest.mark.parametrize("closed", [False, True])
def test_constant_speed_is_constant(closed):
    keys = uneven_keys_around_a_point()
    _, way = steps_of(keyframe_trajectory(keys, 400, closed=closed))
    assert float(way.std() / way.mean()) < 5e-3
    _, uneven = steps_of(keyframe_trajectory(keys, 400, constant_speed=False, closed=closed))
    assert float(uneven.std() / uneven.mean()) > 0.1


def test_velocity_and_turning_have_no_jump_at_a_key():
    """C1: finite differences before and after a key approach each other with the step."""
    keys, jumps = some_keys(5), []
    for per_segment in (50, 500):
        path = keyframe_trajectory(keys, 4 * per_segment + 1, constant_speed=False).world_from_cam
        at = per_segment * 2
        velocity = path.diff(dim=0)[:, :3, 3] * per_segment
        turns = (path[:-1, :3, :3].transpose(1, 2) @ path[1:, :3, :3] - torch.eye(3, dtype=F64)) * per_segment
        jumps.append((float((velocity[at] - velocity[at - 1]).norm()), float((turns[at] - turns[at - 1]).norm())))
    assert jumps[1][0] < jumps[0][0] / 5 and jumps[1][1] < jumps[0][1] / 5


def test_two_keys_are_joined_by_a_line_and_an_even_turn():
    keys = Cameras(
        world_from_cam=EYE.repeat(2, 1, 1), K=intrinsics_from_fov(60.0, (8, 8)).double().repeat(2, 1, 1), hw=(8, 8)
    )
    keys.world_from_cam[1] = rigid(
        matrix_from_axis_angle(torch.tensor([0, 1.2, 0], dtype=F64)), torch.tensor([0, 0, 4], dtype=F64)
    )
    path = keyframe_trajectory(keys, 5)
    assert_close(path.world_from_cam[:, 2, 3], torch.arange(5, dtype=F64))
    angles = rotation_angle(path.world_from_cam[:, :3, :3])
    assert_close(angles, torch.linspace(0, 1.2, 5, dtype=F64))


def test_turning_on_the_spot_takes_its_time():
    keys = Cameras(world_from_cam=EYE.repeat(3, 1, 1), K=torch.eye(3, dtype=F64).repeat(3, 1, 1), hw=(8, 8))
    keys.world_from_cam[1:, :3, :3] = matrix_from_axis_angle(torch.tensor([0, 1.5, 0], dtype=F64))
    keys.world_from_cam[2, 2, 3] = 2.0
    rotation_deg, _ = steps_of(keyframe_trajectory(keys, 60))
    assert float(rotation_deg.max()) < 4.5 * float(rotation_deg.mean())
    assert float(rotation_deg.max()) < 9
    still = Cameras(world_from_cam=EYE.repeat(3, 1, 1), K=keys.K, hw=(8, 8))
    assert_close(keyframe_trajectory(still, 7).world_from_cam, EYE.repeat(7, 1, 1))


@pytest.mark.parametrize("constant_speed", [False, True])
def test_one_key_or_one_frame(constant_speed):
    assert_close(
        keyframe_trajectory(some_keys(1), 3, constant_speed=constant_speed).world_from_cam,
        some_keys(1).world_from_cam.repeat(3, 1, 1),
    )
    one = keyframe_trajectory(some_keys(3), 1, constant_speed=constant_speed)
    assert_close(one.world_from_cam, some_keys(3).world_from_cam[:1])


def test_bad_keys_are_refused():
    with pytest.raises(ValueError, match="frames must be a whole number >= 1, got 0"):
        keyframe_trajectory(some_keys(2), 0)
    with pytest.raises(ValueError, match="frames must be a whole number >= 1, got inf"):
        keyframe_trajectory(some_keys(2), math.inf)
    with pytest.raises(ValueError, match="keys must hold at least one camera, got none"):
        keyframe_trajectory(some_keys(2)[[]], 4)
    broken = some_keys(2)
    broken.K[1, 0, 0] = math.nan
    with pytest.raises(ValueError, match="keys must be finite"):
        keyframe_trajectory(broken, 4)


# --- free space ------------------------------------------------------------------------------------------------------


def box_distance(hw, half):
    """Distance to the walls of a box of half sizes x, y, z around the centre."""
    directions = directions_from_panorama(hw, dtype=F64)
    return (torch.tensor(half, dtype=F64) / directions.abs().clamp_min(1e-12)).amin(-1)


def test_the_free_radius_of_a_sphere_is_its_radius():
    assert_close(free_radius(torch.full((16, 32), 3.0), 5), torch.full((5,), 3.0))


def test_the_free_radius_of_a_corridor_is_long_ahead_and_short_aside():
    radius = free_radius(box_distance((64, 128), (1.0, 1.5, 6.0)), 4, band_deg=10.0, percentile=0.0)
    # the four directions look to longitudes -135, -45, 45 and 135, 45 degrees around each
    assert_close(radius, torch.full((4,), 1.0, dtype=F64), atol=0.01, rtol=0)
    fine = free_radius(box_distance((64, 128), (1.0, 1.5, 6.0)), 35, band_deg=5.0, percentile=0.0)
    assert fine.argmax() == 17 and float(fine[17]) > 5
    assert float(fine[[8, 26]].max()) < 1.1


def test_a_percentile_ignores_a_speck():
    distance = torch.full((32, 64), 4.0)
    distance[16, 32] = 0.1
    assert float(free_radius(distance, 8).min()) == 4
    assert float(free_radius(distance, 8, percentile=0.0).min()) == pytest.approx(0.1)


@pytest.mark.parametrize("cone_deg", [0.0, 5.0])
@pytest.mark.parametrize("name", ["walk", "orbit", "spiral", "lemniscate", "move-up", "demo"])
def test_fitted_trajectories_stay_in_the_room(name, cone_deg):
    half = torch.tensor([0.8, 1.1, 2.0], dtype=F64)
    distance = box_distance((64, 128), half.tolist())
    positions = make(name, 30).world_from_cam[:, :3, 3]
    scale = fit_trajectory_scale(positions, distance, 0.6, cone_deg=cone_deg)
    assert 0 < scale <= 1
    reach = (positions.abs() * scale / half).max()  # 1: touches a wall
    assert float(reach) <= 0.6 * 1.03  # the box's distance within a pixel of 2.8 degrees
    if cone_deg == 0 and scale < 1:
        assert float(reach) >= 0.6 * 0.97  # and no smaller than need be
    assert fit_trajectory_scale(positions, distance, 0.6, requested=scale / 2, cone_deg=cone_deg) == scale / 2


def test_scale_by_hand():
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 4], [1, 0, 0]])
    distance = torch.full((16, 32), 3.0)
    assert fit_trajectory_scale(positions, distance, 0.5) == pytest.approx(1.5 / 4)
    assert fit_trajectory_scale(positions, distance, 0.5, requested=0.2) == pytest.approx(0.2)
    assert fit_trajectory_scale(torch.zeros(2, 3), distance, requested=7.0) == 7.0
    distance[7:9, 15:17] = 1.0  # a pillar ahead
    assert fit_trajectory_scale(positions, distance, 0.5) == pytest.approx(0.5 / 4)


def test_a_cone_sees_what_a_ray_misses():
    positions, distance = torch.tensor([[0.0, 0, 2]]), torch.full((90, 180), 4.0)
    distance[:, 92] = 1.0  # a pole 4 to 6 degrees to the right
    assert fit_trajectory_scale(positions, distance, 0.5, cone_deg=0.0) == pytest.approx(1.0)
    assert fit_trajectory_scale(positions, distance, 0.5, cone_deg=6.0) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"margin": 0.0}, r"margin must be in \(0, 1\], got 0.0"),
        ({"requested": -1.0}, "requested must be > 0 and finite, got -1.0"),
        ({"cone_deg": 91.0}, r"cone_deg must be in \[0, 90\] degrees, got 91.0"),
        ({"positions": torch.full((1, 3), math.nan)}, "positions must be finite"),
        ({"distance": torch.zeros(4, 8)}, "distance must be finite and > 0 at every pixel"),
        ({"distance": torch.ones(4, 9)}, r"distance's size must be \(H, 2 H\)"),
    ],
)
def test_fitting_refuses_bad_arguments(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_trajectory_scale(**{"positions": torch.ones(1, 3), "distance": torch.ones(4, 8), **arguments})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_directions": 0}, "n_directions must be"),
        ({"band_deg": 0.0}, "band_deg must be"),
        ({"percentile": 101.0}, "percentile must be"),
    ],
)
def test_the_free_radius_refuses_bad_arguments(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        free_radius(torch.ones(4, 8), **arguments)
