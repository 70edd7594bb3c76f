"""Cubemap faces: hand cases, analytic colour, round trips at 90 and 95 degrees, a slow twin, gradients."""

import math

import pytest
import torch

from onescene.geometry.cubemap import (
    FACES,
    depth_z_from_distance,
    distance_from_depth_z,
    face_cameras,
    face_directions,
    face_intrinsics,
    faces_from_panorama,
    panorama_from_faces,
    world_from_face,
)
from onescene.geometry.equirect import directions_from_panorama
from onescene.geometry.perspective import crop_panorama, place_photo


def smooth_colour(directions):
    """A smooth function on the sphere, channel first."""
    x, y, z = directions.unbind(-1)
    return torch.stack((0.5 + 0.4 * torch.sin(3 * x + 2 * y), 0.5 + 0.4 * z, 0.5 + 0.4 * torch.cos(4 * y * x)), -3)


def smooth_panorama(height):
    return smooth_colour(directions_from_panorama((height, 2 * height), dtype=torch.float64))


def test_axes_of_every_face():
    forward = {"F": (0, 0, 1), "R": (1, 0, 0), "B": (0, 0, -1), "L": (-1, 0, 0), "U": (0, -1, 0), "D": (0, 1, 0)}
    rotation = world_from_face(dtype=torch.float64)
    for i, name in enumerate(FACES):
        torch.testing.assert_close(rotation[i][:, 2], torch.tensor(forward[name], dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(rotation[4][:, 1], torch.tensor((-1.0, 0, 0), dtype=torch.float64))  # U: top is +x
    torch.testing.assert_close(rotation[5][:, 1], torch.tensor((1.0, 0, 0), dtype=torch.float64))  # D: top is -x


def test_intrinsics_of_equation_7_and_8():
    K = face_intrinsics(100, 95, dtype=torch.float64)
    assert math.isclose(K[0, 0].item(), 50 / math.tan(math.radians(47.5)))
    assert K[0, 2] == K[1, 2] == 50
    assert math.isclose(face_intrinsics(64, 90, dtype=torch.float64)[0, 0].item(), 32)


def test_face_cameras_see_the_face_directions():
    cameras = face_cameras(6, 95, dtype=torch.float64)
    u = torch.tensor([0.5, 2.5, 1.0], dtype=torch.float64)  # first column, third row
    ray = cameras.world_from_cam[:, :3, :3] @ torch.linalg.inv(cameras.K[0]) @ u
    torch.testing.assert_close(
        torch.nn.functional.normalize(ray, dim=-1), face_directions(6, 95, dtype=torch.float64)[:, 2, 0]
    )


@pytest.mark.parametrize("fov_deg", [90, 95])
def test_faces_of_an_analytic_panorama_have_the_analytic_colour(fov_deg):
    faces = faces_from_panorama(smooth_panorama(256), 64, fov_deg)
    true = (
        smooth_colour(face_directions(64, fov_deg, dtype=torch.float64).flatten(0, 1))
        .unflatten(1, (6, 64))
        .movedim(0, 1)
    )
    assert (faces - true).abs().max() < 1 / 255


@pytest.mark.parametrize("fov_deg", [90, 95, 110])
@pytest.mark.parametrize("overlap", ["angular", "mean", "owner"])
def test_there_and_back_above_45_db_everywhere(fov_deg, overlap):
    panorama = smooth_panorama(128)
    back = panorama_from_faces(faces_from_panorama(panorama, 96, fov_deg), (128, 256), fov_deg, overlap=overlap)
    worst = (back - panorama).abs().max().item()
    assert -20 * math.log10(worst) > 40  # the worst single pixel; 45 dB holds for every row below
    per_row = (back - panorama).square().mean((0, 2))
    assert -10 * math.log10(per_row.max().item()) > 45
    per_column = (back - panorama).square().mean((0, 1))
    assert -10 * math.log10(per_column.max().item()) > 45


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_batch_shapes(batch):
    panorama = torch.rand(*batch, 5, 16, 32)
    faces = faces_from_panorama(panorama, 8, 95)
    assert faces.shape == (*batch, 6, 5, 8, 8)
    back = panorama_from_faces(faces, (16, 32), 95)
    assert back.shape == panorama.shape
    flat = panorama.reshape(-1, 5, 16, 32)
    one = panorama_from_faces(faces_from_panorama(flat[-1], 8, 95), (16, 32), 95)
    torch.testing.assert_close(back.reshape(-1, 5, 16, 32)[-1], one)


def slow_c2e(faces, hw, fov_deg, overlap):
    """One pixel at a time, straight from Eq. 9 and the rule's words."""
    height, width = hw
    face_px = faces.shape[-1]
    half, f_px = math.tan(math.radians(fov_deg) / 2), face_px / 2 / math.tan(math.radians(fov_deg) / 2)
    out = torch.zeros(faces.shape[1], height, width, dtype=faces.dtype)
    for row in range(height):
        for column in range(width):
            q = directions_from_panorama(hw, dtype=torch.float64)[row, column]
            total = 0.0
            local = [rotation.T @ q for rotation in world_from_face(dtype=torch.float64)]
            owner = max(range(6), key=lambda i: local[i][2].item())
            for i, p in enumerate(local):
                if p[2] <= 0:
                    continue
                tangent = (p[:2].abs().max() / p[2]).item()
                angle = math.degrees(math.atan(tangent))
                weight = {
                    "owner": float(i == owner),
                    "mean": float(tangent <= half),
                    "angular": min(max((fov_deg / 2 - angle) / (fov_deg - 90), 0.0), 1.0),
                }[overlap]
                if weight == 0:
                    continue
                x = min(max((p[0] / p[2] * f_px + face_px / 2).item(), 0.5), face_px - 0.5) - 0.5
                y = min(max((p[1] / p[2] * f_px + face_px / 2).item(), 0.5), face_px - 0.5) - 0.5
                x0, y0 = min(int(x), face_px - 2), min(int(y), face_px - 2)
                a, b = x - x0, y - y0
                f = faces[i]
                value = (1 - b) * ((1 - a) * f[:, y0, x0] + a * f[:, y0, x0 + 1])
                value = value + b * ((1 - a) * f[:, y0 + 1, x0] + a * f[:, y0 + 1, x0 + 1])
                out[:, row, column] += weight * value
                total += weight
            out[:, row, column] /= total
    return out


@pytest.mark.parametrize("overlap", ["angular", "mean", "owner"])
def test_c2e_agrees_with_its_slow_twin(overlap):
    faces = torch.rand(6, 2, 8, 8, dtype=torch.float64)
    fast = panorama_from_faces(faces, (8, 16), 95, overlap=overlap)
    torch.testing.assert_close(fast, slow_c2e(faces, (8, 16), 95, overlap))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_shades_and_no_places(dtype):
    """A place in bfloat16 would be two pixels off; the values alone are rounded, once on the way in and once out."""
    panorama = smooth_panorama(256).to(dtype)
    faces = faces_from_panorama(panorama, 128, 95)
    assert faces.dtype == dtype
    assert torch.equal(faces, faces_from_panorama(panorama.float(), 128, 95).to(dtype))
    back = panorama_from_faces(faces, (256, 512), 95)
    assert torch.equal(back, panorama_from_faces(faces.float(), (256, 512), 95).to(dtype))
    crop = crop_panorama(panorama, face_cameras(64, 95))
    assert torch.equal(crop, crop_panorama(panorama.float(), face_cameras(64, 95)).to(dtype))
    photo = faces[0]
    placed = place_photo(photo, (128, 256), 80.0).panorama
    assert torch.equal(placed, place_photo(photo.float(), (128, 256), 80.0).panorama.to(dtype))


def test_both_directions_are_differentiable():
    panorama = torch.rand(1, 4, 8, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda p: faces_from_panorama(p, 4, 95), (panorama,))
    faces = torch.rand(6, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda f: panorama_from_faces(f, (8, 16), 95), (faces,))


def test_depth_and_distance():
    distance = torch.full((6, 9, 9), 2.0, dtype=torch.float64)
    depth_z = depth_z_from_distance(distance, 95)
    torch.testing.assert_close(depth_z[:, 4, 4], distance[:, 4, 4])  # on the axis they agree
    corner = math.tan(math.radians(47.5)) * 8 / 9
    torch.testing.assert_close(depth_z[0, 0, 0].item(), 2 / math.sqrt(1 + 2 * corner**2))
    torch.testing.assert_close(distance_from_depth_z(depth_z, 95), distance)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: faces_from_panorama(torch.zeros(3, 8, 15), 8, 95), "panorama's size"),
        (lambda: faces_from_panorama(torch.zeros(8, 16), 8, 95), "panorama must have shape"),
        (lambda: faces_from_panorama(torch.zeros(3, 8, 16, dtype=torch.uint8), 8, 95), "must be floating-point"),
        (lambda: panorama_from_faces(torch.zeros(6, 3, 8, 8, dtype=torch.int64), (8, 16), 95), "must be floating"),
        (lambda: faces_from_panorama(torch.zeros(3, 8, 16), 1, 95), "face_px"),
        (lambda: faces_from_panorama(torch.zeros(3, 8, 16), math.nan, 95), "face_px"),
        (lambda: faces_from_panorama(torch.zeros(3, 8, 16), 8, 5), "fov_deg"),
        (lambda: faces_from_panorama(torch.zeros(3, 8, 16), 8, 95, grid="other"), "grid"),
        (lambda: panorama_from_faces(torch.zeros(5, 3, 8, 8), (8, 16), 95), "faces must have shape"),
        (lambda: panorama_from_faces(torch.zeros(6, 3, 8, 8), (8, 16), 80), "fov_deg"),
        (lambda: panorama_from_faces(torch.zeros(6, 3, 8, 8), (8, 16), 95, overlap="first"), "overlap"),
    ],
)
def test_a_callers_mistake_is_named(call, words, shapes_unchecked):
    with pytest.raises(ValueError, match=words):
        call()


def test_golden_faces_of_the_release(golden_file):
    numpy = pytest.importorskip("numpy")
    stored = numpy.load(golden_file("one2scene_faces"), allow_pickle=False)
    panorama = torch.from_numpy(stored["panorama_float"]).permute(2, 0, 1)
    faces = faces_from_panorama(panorama, 48, float(stored["fov_degrees"]), grid="release").permute(0, 2, 3, 1)
    off = (faces - torch.from_numpy(stored["faces_float"])).abs().amax(-1) > 1e-5
    assert int(off.sum()) <= 112  # the release wraps with a period one short there; the golden README counts them
