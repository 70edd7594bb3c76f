"""Perspective cameras, crops of a panorama and photos placed on it."""

import math

import pytest
import torch
from torch.testing import assert_close

from onescene.geometry import perspective as persp
from onescene.geometry.cubemap import face_cameras, faces_from_panorama
from onescene.geometry.equirect import directions_from_panorama
from onescene.geometry.rotations import look_at, matrix_from_axis_angle, matrix_from_yaw_pitch_roll, rigid
from onescene.types import Cameras

F64 = torch.float64


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def some_cameras(hw=(5, 7), count=2):
    world_from_cam = rigid(matrix_from_axis_angle(rand(count, 3) - 0.5), rand(count, 3, seed=1))
    K = persp.intrinsics_from_fov(50 + 20 * rand(count, seed=2), hw)
    K[:, 0, 2] += 0.3  # no principal point in the centre, and some skew
    K[:, 0, 1] += 0.2
    return Cameras(world_from_cam=world_from_cam, K=K, hw=hw)


def pattern(directions):
    """A smooth colour of world directions, in [0, 1], channel first."""
    x, y, z = directions.unbind(-1)
    waves = (2 * x + y).sin(), (3 * y - z).cos(), (2 * z + x * y).sin()
    return torch.stack(waves).mul(0.4).add(0.5)


def psnr(a, b):
    return float(-10 * torch.log10((a - b).square().mean()))


def one_camera(fov_deg, hw, angles_deg=(0.0, 0.0, 0.0)):
    rotation = matrix_from_yaw_pitch_roll(torch.deg2rad(torch.tensor(angles_deg, dtype=F64)))
    K = persp.intrinsics_from_fov(torch.tensor(fov_deg, dtype=F64), hw, side="long")
    return Cameras(world_from_cam=rigid(rotation, torch.zeros(3, dtype=F64))[None], K=K[None], hw=hw)


# --- intrinsics, rays, projection ------------------------------------------------------------------------------------


def test_intrinsics_by_hand():
    expected = torch.tensor([[50.0, 0, 50], [0, 50, 20], [0, 0, 1]])
    assert_close(persp.intrinsics_from_fov(90.0, (40, 100)), expected)
    assert_close(persp.intrinsics_from_fov(90.0, (100, 40), side="long")[0, 0], torch.tensor(50.0))
    assert persp.intrinsics_from_fov(torch.full((1, 2), 60.0, dtype=F64), (4, 4)).shape == (1, 2, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"fov_deg": 0.0}, r"fov_deg must be inside \(0, 180\) degrees, got 0.0"),
        ({"fov_deg": math.nan}, "got nan"),
        ({"hw": (0, 4)}, "hw must be two sizes >= 1"),
        ({"side": "height"}, "side must be 'width' or 'long', got 'height'"),
    ],
)
def test_intrinsics_refuse_what_makes_no_camera(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        persp.intrinsics_from_fov(**{"fov_deg": 60.0, "hw": (4, 4), **arguments})


def test_rays_by_hand():
    origins, directions = persp.camera_rays(face_cameras(2, 90.0, dtype=F64))
    assert_close(origins, torch.zeros(6, 3, dtype=F64))
    corner = torch.tensor([0.5, 0.5, 1], dtype=F64) / math.sqrt(1.5)
    assert_close(directions[0, 1, 1], corner)
    assert_close(directions[1, 1, 1], corner[[2, 1, 0]] * torch.tensor([1, 1, -1]))  # R: image right is -z


def test_unproject_and_project_are_inverse():
    cameras = some_cameras()
    depth_z = 0.5 + rand(2, 5, 7)
    points = persp.unproject(depth_z, cameras)
    for v in range(2):
        xy, z = persp.project(points[v].reshape(-1, 3), cameras)
        assert_close(z[v].reshape(5, 7), depth_z[v])
        x, y = torch.meshgrid(torch.arange(7) + 0.5, torch.arange(5) + 0.5, indexing="xy")
        assert_close(xy[v].reshape(5, 7, 2), torch.stack((x, y), dim=-1).double())


def test_rays_point_at_the_unprojected_points():
    cameras = some_cameras()
    origins, directions = persp.camera_rays(cameras)
    offsets = persp.unproject(torch.ones(2, 5, 7, dtype=F64), cameras) - origins[:, None, None]
    assert_close(offsets / offsets.norm(dim=-1, keepdim=True), directions)


def test_project_agrees_with_a_loop_over_points():
    cameras, points = some_cameras(), rand(4, 3, seed=3) * 4
    xy, z = persp.project(points, cameras)
    for v in range(2):
        for n in range(4):
            homogeneous = torch.cat((points[n], torch.ones(1, dtype=F64)))
            in_cam = torch.linalg.inv(cameras.world_from_cam[v]) @ homogeneous
            image = cameras.K[v] @ in_cam[:3]
            assert_close(xy[v, n], image[:2] / image[2])
            assert_close(z[v, n], in_cam[2])


def test_projecting_a_camera_centre_is_finite():
    cameras = face_cameras(4, 90.0)
    points = torch.zeros(1, 3, requires_grad=True)
    xy, z = persp.project(points, cameras)
    (xy.sum() + z.sum()).backward()
    assert bool(torch.isfinite(xy).all() and torch.isfinite(points.grad).all())


def test_gradcheck():
    cameras = some_cameras((2, 3))
    depth_z, points = (0.5 + rand(2, 2, 3)).requires_grad_(), (rand(3, 3) + 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: persp.unproject(d, cameras), depth_z)
    assert torch.autograd.gradcheck(lambda p: persp.project(p, cameras), points)
    panorama = rand(2, 4, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: persp.crop_panorama(p, cameras, antialias=True), panorama)
    photo = rand(3, 4, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: persp.place_photo(p, (8, 16), 80.0).panorama, photo)


def test_depth_of_another_size_is_refused(shapes_unchecked):
    with pytest.raises(ValueError, match=r"depth_z must have shape \(2, 5, 7\) as its cameras, got \(2, 5, 6\)"):
        persp.unproject(torch.ones(2, 5, 6, dtype=F64), some_cameras())


# --- crops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_crops_of_the_face_cameras_are_the_faces(batch):
    panorama = rand(*batch, 3, 16, 32)
    crops = persp.crop_panorama(panorama, face_cameras(8, 95.0, dtype=F64))
    assert_close(crops, faces_from_panorama(panorama, 8, 95.0))


def test_a_crop_shows_what_its_camera_sees():
    panorama = pattern(directions_from_panorama((128, 256), dtype=F64))
    cameras = some_cameras((24, 32), 3)
    crops = persp.crop_panorama(panorama, cameras)
    true = pattern(persp.camera_rays(cameras)[1]).movedim(0, 1)
    assert float((crops - true).abs().max()) < 2e-3


def test_antialiasing_averages_a_coarse_crop_and_leaves_a_fine_one():
    stripes = (torch.arange(512) % 2).to(F64).expand(1, 256, 512)
    coarse = one_camera(60.0, (16, 16))
    assert float((persp.crop_panorama(stripes, coarse, antialias=True) - 0.5).abs().max()) < 0.15
    assert float((persp.crop_panorama(stripes, coarse) - 0.5).abs().max()) > 0.4
    fine = one_camera(20.0, (64, 64))
    assert_close(persp.crop_panorama(stripes, fine, antialias=True), persp.crop_panorama(stripes, fine))


# --- photos ----------------------------------------------------------------------------------------------------------

PLACES = [
    ((0.0, 0.0, 0.0), (48, 64)),
    ((0.0, 0.0, 0.0), (64, 40)),
    ((150.0, 35.0, 20.0), (48, 64)),
    ((0.0, 80.0, 0.0), (48, 64)),
]


def place(photo, hw, fov_deg, angles_deg, **options):
    yaw, pitch, roll = angles_deg
    return persp.place_photo(photo, hw, fov_deg, yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, **options)


@pytest.mark.parametrize(("angles_deg", "photo_hw"), PLACES)
@pytest.mark.parametrize("fov_deg", [40.0, 80.0, 120.0])
def test_a_placed_photo_is_cut_back_out(angles_deg, photo_hw, fov_deg):
    camera = one_camera(fov_deg, photo_hw, angles_deg)
    photo = pattern(persp.camera_rays(camera)[1][0])
    placed = place(photo, (256, 512), fov_deg, angles_deg)
    back = persp.crop_panorama(placed.panorama, camera)[0]
    seen = persp.crop_panorama(placed.mask[None].to(F64), camera)[0, 0] > 0.999  # leaves the half-covered rim out
    assert float(seen.double().mean()) > 0.75
    assert psnr(back[:, seen], photo[:, seen]) > 40


@pytest.mark.parametrize(("angles_deg", "photo_hw"), PLACES)
def test_a_placed_photo_has_the_colour_of_its_direction(angles_deg, photo_hw):
    """Each panorama pixel against the world's true colour: position, scale, roll and aspect are all exact."""
    photo = pattern(persp.camera_rays(one_camera(90.0, photo_hw, angles_deg))[1][0])
    placed = place(photo, (64, 128), 90.0, angles_deg)
    true = pattern(directions_from_panorama((64, 128), dtype=F64))
    inside = place(photo, (64, 128), 90.0, angles_deg, feather_px=2.0).weight == 1
    assert float((placed.panorama - true)[:, inside].abs().max()) < 5e-3


def test_the_mask_is_the_photo_s_field_of_view():
    placed = persp.place_photo(torch.ones(3, 40, 80, dtype=F64), (180, 360), 90.0)
    half_short = math.degrees(math.atan(0.5))  # by the tangent: 26.57, not 22.5 degrees
    column, row = placed.mask[:, 180], placed.mask[90]
    assert int(row.sum()) == 90
    assert int(column.sum()) == 2 * round(half_short)
    assert_close(placed.panorama, placed.mask.to(F64).expand(3, -1, -1))
    assert placed.mask.dtype == torch.bool
    assert_close(placed.weight, placed.mask.to(F64))


def test_solid_angle_of_the_mask():
    placed = persp.place_photo(torch.ones(3, 30, 40), (128, 256), 70.0, pitch_deg=40.0, roll_deg=10.0, yaw_deg=100.0)
    a = math.tan(math.radians(35.0))
    b = a * 3 / 4
    exact = 4 * math.asin(a * b / math.sqrt((1 + a * a) * (1 + b * b)))
    latitude = (0.5 - (torch.arange(128, dtype=F64) + 0.5) / 128) * math.pi
    pixel = latitude.cos() * (2 * math.pi / 256) * (math.pi / 128)
    assert float((placed.mask * pixel[:, None]).sum()) == pytest.approx(exact, rel=0.01)


def test_the_rim_is_feathered():
    weight = persp.place_photo(torch.ones(3, 64, 64, dtype=F64), (180, 360), 90.0, feather_px=10.0).weight
    assert float(weight.min()) == 0 and float(weight.max()) == 1
    line = weight[90, 135:180]  # from the left border to the middle
    assert bool((line.diff() >= 0).all())
    f_px = 360 / (2 * math.pi)
    lengths = f_px * (1 - torch.tan(torch.deg2rad(44.5 - torch.arange(45, dtype=F64))))
    assert_close(line, (lengths / 10).clamp(0, 1), atol=1e-9, rtol=0)


def test_a_fine_photo_is_averaged_not_aliased():
    stripes = (torch.arange(512) % 2).to(F64).expand(3, 512, 512)
    placed = persp.place_photo(stripes, (32, 64), 80.0)
    assert float((placed.panorama[:, placed.mask] - 0.5).abs().max()) < 0.06
    barely_finer = persp.place_photo(stripes[:, :64, :64], (64, 128), 80.0)  # 1.9 times: 0.45 if sampled once
    assert float((barely_finer.panorama[:, barely_finer.mask] - 0.5).abs().max()) < 0.1
    gradient = torch.linspace(0, 1, 513, dtype=F64)[:-1].add(0.5 / 512).expand(3, 512, 512)
    small = persp.place_photo(gradient, (32, 64), 80.0)
    longitude = ((torch.arange(64, dtype=F64) + 0.5) / 64 - 0.5) * 2 * math.pi
    exact = 0.5 + longitude.tan() / (2 * math.tan(math.radians(40)))
    middle = small.mask[16]
    assert float((small.panorama[0, 16] - exact)[middle].abs().max()) < 0.01


@pytest.mark.parametrize("fov_deg", [10.0, 170.0, -5.0, math.nan, math.inf])
def test_a_photo_s_field_of_view_has_bounds(fov_deg):
    with pytest.raises(ValueError, match=r"fov_deg must be inside \(10, 170\) degrees, got"):
        persp.place_photo(torch.ones(3, 8, 8), (16, 32), fov_deg)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"hw": (16, 30)}, r"hw must be \(H, 2 H\)"),
        ({"pitch_deg": math.nan}, "must be finite"),
        ({"feather_px": -1.0}, "feather_px must be >= 0 and finite, got -1.0"),
    ],
)
def test_placing_refuses_bad_numbers(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        persp.place_photo(torch.ones(3, 8, 8), **{"hw": (16, 32), "fov_deg": 60.0, **arguments})


@pytest.mark.parametrize("fov_deg", [10.1, 169.9])
def test_extreme_fields_of_view_stay_finite(fov_deg):
    photo = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    placed = persp.place_photo(photo, (32, 64), fov_deg, pitch_deg=90.0)
    assert bool(placed.mask.any())
    assert bool(torch.isfinite(placed.panorama).all())
    assert float(placed.panorama.min()) >= 0 and float(placed.panorama.max()) <= 1


def test_looking_at_a_point_puts_it_in_the_middle():
    target = torch.tensor([1.0, -0.5, 2.0], dtype=F64)
    pose = look_at(torch.tensor([0.2, 0.1, -0.3], dtype=F64), target)
    cameras = Cameras(
        world_from_cam=pose[None], K=persp.intrinsics_from_fov(60.0, (10, 20)).double()[None], hw=(10, 20)
    )
    assert_close(persp.project(target[None], cameras)[0][0, 0], torch.tensor([10.0, 5.0], dtype=F64))
