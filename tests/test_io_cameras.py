"""Camera files: axes done by hand, round trips through every format, and files that lie."""

from __future__ import annotations

import json
import math
import struct

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from onescene.geometry.rotations import matrix_from_quaternion, rigid
from onescene.geometry.surface import PointCloud
from onescene.io import (
    load_camera_file,
    load_cameras,
    read_colmap,
    read_colmap_groups,
    read_colmap_points,
    save_cameras,
    write_colmap,
    write_colmap_groups,
)
from onescene.types import Cameras

PLACES = ["transforms.json", "path.txt", "model"]


def random_cameras(n=4, seed=0, hw=(48, 64), shared=True):
    generator = torch.Generator().manual_seed(seed)
    rotations = matrix_from_quaternion(torch.randn(n, 4, generator=generator, dtype=torch.float64))
    shifts = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    K = torch.tensor([[50.5, 0, 30.25], [0, 51.25, 25.125], [0, 0, 1]]).repeat(n, 1, 1)
    if not shared:
        K[:, 0, 0] += torch.arange(n)
    return Cameras(world_from_cam=rigid(rotations, shifts).float(), K=K, hw=hw)


def transforms(**changes):
    """A small transforms.json; a change to None removes a key."""
    identity = torch.eye(4).tolist()
    content = {"fl_x": 50.0, "fl_y": 60.0, "cx": 32.0, "cy": 24.0, "w": 64, "h": 48}
    content["frames"] = [{"file_path": "images/a.png", "transform_matrix": identity}]
    return {k: v for k, v in {**content, **changes}.items() if v is not None}


def written(tmp_path, content):
    path = tmp_path / "transforms.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def matrix_with(row, column, value):
    matrix = torch.eye(4).tolist()
    matrix[row][column] = value
    return matrix


# --- by hand -----------------------------------------------------------------------------------------------------

# A camera at (1, 2, 3) looking to the right (+x), upright: its right is -z, its down is +y, its forward +x.
LOOKS_RIGHT = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]])
K_BY_HAND = torch.tensor([[50.0, 0, 32], [0, 60, 24], [0, 0, 1]])
BY_HAND = Cameras(world_from_cam=LOOKS_RIGHT[None], K=K_BY_HAND[None], hw=(48, 64))


def test_transforms_by_hand(tmp_path):
    """The same camera in OpenGL's axes: its up is -y, its backward -x; the world's axes stay."""
    opengl = [[0, 0, -1, 1], [0, -1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]]
    path = save_cameras(BY_HAND, tmp_path / "transforms.json", ["views/größe 1.png"])
    content = json.loads(path.read_text("utf-8"))
    assert content["frames"] == [{"file_path": "views/größe 1.png", "transform_matrix": opengl}]
    assert {k: content[k] for k in ("fl_x", "fl_y", "cx", "cy", "w", "h")} == {
        **{"fl_x": 50, "fl_y": 60, "cx": 32, "cy": 24, "w": 64, "h": 48}
    }
    found = load_cameras(written(tmp_path, transforms(frames=[{"transform_matrix": opengl}])))
    assert_close(found.world_from_cam, BY_HAND.world_from_cam, atol=0, rtol=0)
    assert_close(found.K, BY_HAND.K, atol=0, rtol=0)
    assert found.hw == (48, 64)


def test_tum_by_hand(tmp_path):
    """A quarter turn about y that takes +z to +x."""
    half = math.sqrt(0.5)
    path = tmp_path / "path.txt"
    path.write_text(f"# timestamp tx ty tz qx qy qz qw\n17.5 1 2 3 0 {half} 0 {half}\n")
    found = load_cameras(path, hw=(48, 64), K=K_BY_HAND)
    assert_close(found.world_from_cam, BY_HAND.world_from_cam)
    assert_close(found.K, BY_HAND.K)
    line = save_cameras(BY_HAND, path).read_text().splitlines()[-1]
    values = torch.tensor([float(word) for word in line.split()])
    assert_close(values, torch.tensor([0, 1, 2, 3, 0, half, 0, half]))


COLMAP_IMAGES = """# comment
7 {h} 0 -{h} 0 3 -2 -1 3 second.png
10.5 20.5 -1 11 12 5
2 1 0 0 0 0 0 0 3 first image.png

"""


def test_colmap_text_by_hand(tmp_path):
    """World-to-camera: right = -z, down = y, forward = x of what is seen from (1, 2, 3)."""
    half = math.sqrt(0.5)
    (tmp_path / "cameras.txt").write_text("# lenses\n3 PINHOLE 64 48 50 60 32 24\n")
    (tmp_path / "images.txt").write_text(COLMAP_IMAGES.format(h=half))
    found = load_camera_file(tmp_path)
    assert found.names == ("first image.png", "second.png")  # by image id
    assert_close(found.cameras.world_from_cam, torch.stack([torch.eye(4), LOOKS_RIGHT]))
    assert_close(found.cameras.K, K_BY_HAND.repeat(2, 1, 1))
    assert found.cameras.hw == (48, 64)


def test_colmap_binary_by_hand(tmp_path):
    half = math.sqrt(0.5)
    folder = tmp_path / "sparse" / "0"
    folder.mkdir(parents=True)
    lens = struct.pack("<Q", 1) + struct.pack("<iiQQ3d", 9, 0, 64, 48, 55.0, 32.0, 24.0)  # SIMPLE_PINHOLE
    (folder / "cameras.bin").write_bytes(lens)
    points = struct.pack("<Q", 2) + struct.pack("<ddqddq", 1, 2, -1, 3, 4, 17)
    image = struct.pack("<i7di", 4, half, 0, -half, 0, 3, -2, -1, 9) + "ü.png".encode() + b"\0" + points
    (folder / "images.bin").write_bytes(struct.pack("<Q", 1) + image)
    for place in (tmp_path, folder):
        found = load_camera_file(place)
        assert found.names == ("ü.png",)
        assert_close(found.cameras.world_from_cam[0], LOOKS_RIGHT)
        assert_close(found.cameras.K[0], torch.tensor([[55.0, 0, 32], [0, 55, 24], [0, 0, 1]]))


# --- round trips -------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    quat=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 1e-4),
    shift=st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3),
    place=st.sampled_from([*PLACES, "binary"]),
)
def test_every_rotation_survives_every_format(tmp_path_factory, quat, shift, place):
    motion = rigid(matrix_from_quaternion(torch.tensor(quat, dtype=torch.float64)), torch.tensor(shift).double())
    cameras = Cameras(world_from_cam=motion[None].float(), K=K_BY_HAND[None], hw=(48, 64))
    path = tmp_path_factory.mktemp("cameras") / place
    found = load_cameras(write_colmap(cameras, path, binary=True) if place == "binary" else save_cameras(cameras, path))
    assert_close(found.world_from_cam[:, :3, :3], cameras.world_from_cam[:, :3, :3], atol=1e-6, rtol=0)
    assert_close(found.world_from_cam[:, :3, 3], cameras.world_from_cam[:, :3, 3], atol=1e-9, rtol=1e-7)
    assert_close(found.K, cameras.K, atol=0, rtol=0)
    assert found.hw == (48, 64)


@pytest.mark.parametrize("place", ["transforms.json", "model"])
def test_intrinsics_per_camera(tmp_path, place):
    cameras = random_cameras(shared=False)
    found = load_cameras(save_cameras(cameras, tmp_path / place))
    assert_close(found.K, cameras.K)
    assert_close(found.world_from_cam, cameras.world_from_cam, atol=1e-6, rtol=1e-6)
    if place == "transforms.json":
        assert "fl_x" not in json.loads((tmp_path / place).read_text())


def test_a_tum_file_holds_one_camera_only(tmp_path):
    with pytest.raises(ValueError, match="K must be the same for all cameras"):
        save_cameras(random_cameras(shared=False), tmp_path / "path.txt")
    with pytest.raises(ValueError, match=r"can not name images: file_paths must be None for a \.txt"):
        save_cameras(random_cameras(1), tmp_path / "path.txt", ["a.png"])


@pytest.mark.parametrize("place", ["transforms.json", "model"])
def test_names_of_images(tmp_path, place):
    names = ["b.png", "a.png", "ü.png"]
    assert load_camera_file(save_cameras(random_cameras(3), tmp_path / place, names)).names == tuple(names)
    with pytest.raises(ValueError, match=r"must (name|be) 3"):
        save_cameras(random_cameras(3), tmp_path / place, names[:2])


def test_a_colmap_folder_holds_one_model(tmp_path):
    """A binary model of before must not be read instead of the text one written now, nor the other way round."""
    first, second = random_cameras(2, seed=1), random_cameras(3, seed=2)
    write_colmap(first, tmp_path, binary=True)
    write_colmap(second, tmp_path)
    assert len(load_cameras(tmp_path)) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cameras.txt", "images.txt", "points3D.txt"]
    write_colmap(first, tmp_path, binary=True)
    assert_close(read_colmap(tmp_path).cameras.K, first.K)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cameras.bin", "images.bin", "points3D.bin"]


@pytest.mark.parametrize("names", [["a b.png", "c"], ["a", "a"], ["", "b"], ["a\nb", "c"]])
def test_names_that_colmap_can_not_keep(tmp_path, names):
    with pytest.raises(ValueError, match="names must"):
        write_colmap(random_cameras(2), tmp_path / "model", names)
    assert not (tmp_path / "model").exists()


# --- transforms.json ---------------------------------------------------------------------------------------------


def test_what_a_file_does_not_say_follows(tmp_path):
    angle = 2 * math.atan(32 / 40)  # of 64 px: a focal length of 40 px
    removed = {"fl_x": None, "fl_y": None, "cx": None, "cy": None}
    found = load_cameras(written(tmp_path, transforms(camera_angle_x=angle, **removed)))
    assert_close(found.K[0], torch.tensor([[40.0, 0, 32], [0, 40, 24], [0, 0, 1]]))
    found = load_cameras(written(tmp_path, transforms(camera_angle_x=angle, camera_angle_y=angle, **removed)))
    assert_close(found.K[0, 1, 1], torch.tensor(30.0))  # 48 px under the same angle
    found = load_cameras(written(tmp_path, transforms(w=None, h=None, fl_y=None)), hw=(10, 20))
    assert found.hw == (10, 20)
    assert_close(found.K[0, 1, 1], torch.tensor(50.0))


def test_a_frame_overrides_the_file(tmp_path):
    identity = torch.eye(4).tolist()
    frames = [{"transform_matrix": identity}, {"transform_matrix": identity[:3], "fl_x": 99.0, "cx": 1.5}]
    found = load_cameras(written(tmp_path, transforms(frames=frames)))
    assert_close(found.K[:, 0, 0], torch.tensor([50.0, 99.0]))
    assert_close(found.K[:, 0, 2], torch.tensor([32.0, 1.5]))


def test_the_motion_of_the_world_is_taken_back_when_asked(tmp_path):
    applied = torch.tensor([[1.0, 0, 0, 5], [0, 0, 1, 6], [0, -1, 0, 7], [0, 0, 0, 1]])
    original = random_cameras(3)
    moved = Cameras(world_from_cam=applied @ original.world_from_cam, K=original.K, hw=original.hw)
    path = save_cameras(moved, tmp_path / "transforms.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"applied_transform": applied[:3].tolist()}))
    assert_close(load_cameras(path).world_from_cam, moved.world_from_cam)
    undone = load_cameras(path, undo_applied_transform=True).world_from_cam
    assert_close(undone, original.world_from_cam, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (b"\xff\xfe\x00".decode("latin1"), "is not JSON"),
        ("[]", "must hold a JSON object, got a list"),
        ("{}", "must hold a list `frames`"),
        (transforms(frames=[]), "must hold a list `frames`"),
        (transforms(frames={"0": 1}), "must hold a list `frames`"),
        (transforms(frames=[{}]), "frame 0: transform_matrix is missing"),
        (transforms(fl_x=None, fl_y=None), "frame 0 lacks its focal length"),
        (transforms(fl_x="wide"), "fl_x must be a number, got 'wide'"),
        (transforms(fl_x=True), "fl_x must be a number"),
        (transforms(fl_x=float("nan")), "fl_x must be finite, got nan"),
        (transforms(cx=float("-inf")), "cx must be finite, got -inf"),
        (transforms(fl_x=10**400), "fl_x must be finite"),
        (transforms(fl_x=-50.0), "camera 0 must have positive focal lengths"),
        (transforms(fl_x=0), "camera 0 must have positive focal lengths"),
        (transforms(w=None), "names no image size: add w and h to it"),
        (transforms(w=64.5), "must be whole pixels"),
        (transforms(w=0), "image sides must be 1 to"),
        (transforms(h=10**9), "image sides must be 1 to"),
        (transforms(camera_angle_x=7.0, fl_x=None), "camera_angle_x must be between 0 and pi"),
        (transforms(k1=0.1), r"lens distortion \(k1\): undistort"),
        (transforms(camera_model="OPENCV_FISHEYE"), "must be a pinhole camera, got camera_model OPENCV_FISHEYE"),
        (transforms(camera_model="EQUIRECTANGULAR"), "must be a pinhole camera"),
        (transforms(frames=[{"transform_matrix": [[1, 0], [0, 1]]}]), "transform_matrix must be 4 x 4 numbers"),
        (transforms(frames=[{"transform_matrix": [[1, 0, 0, "a"]] * 4}]), "must be 4 x 4 numbers"),
        (transforms(frames=[{"transform_matrix": matrix_with(0, 3, float("nan"))}]), "numbers, all of them finite"),
        (transforms(frames=[{"transform_matrix": matrix_with(1, 1, float("inf"))}]), "numbers, all of them finite"),
        (transforms(frames=[{"transform_matrix": matrix_with(0, 3, 1e30)}]), "must have a finite matrix"),
        (transforms(frames=[{"transform_matrix": matrix_with(0, 0, 1.5)}]), r"R R\^T differs from 1 by 1.25"),
        (transforms(frames=[{"transform_matrix": matrix_with(0, 0, -1)}]), "a mirror image"),
        (transforms(frames=[{"transform_matrix": matrix_with(3, 0, 0.5)}]), "must have the last row 0 0 0 1"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "",
)
def test_transforms_that_lie(tmp_path, content, sentence):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_cameras(path)
    assert "transforms.json" in str(caught.value) and "\n" not in str(caught.value)


def test_frames_of_different_size(tmp_path):
    identity = torch.eye(4).tolist()
    frames = [{"transform_matrix": identity}, {"transform_matrix": identity, "w": 32}]
    with pytest.raises(ValueError, match=r"frame 1 is 32 x 48, frame 0 is 64 x 48: all images must have one size"):
        load_cameras(written(tmp_path, transforms(frames=frames)))


# --- TUM and COLMAP that lie -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 1 2 3 0 0 0 1\n", "names no intrinsics"),
        ("# hw 48 64\n# K 50 60 32 24\n0 1 2 3 0 0 0\n", "line 3 must hold 8 finite numbers, got `0 1 2 3 0 0 0`"),
        ("# hw 48 64\n# K 50 60 32 24\n0 1 2 nan 0 0 0 1\n", "line 3 must hold 8 finite numbers"),
        ("# hw 48 64\n# K 50 60 32 24\n0 1 2 3 0 0 0 inf\n", "line 3 must hold 8 finite numbers"),
        ("# hw 48 64\n# K 50 60 32 24\n0 1 2 3 0 0 0 0\n", "camera 0 must have a quaternion of length 1"),
        ("# hw 48 64\n# K 50 60 32 24\nhello\n", "line 3 must hold 8 finite numbers, got `hello`"),
        ("# hw 48\n# K 50 60 32 24\n", "line 1 must hold 2 finite numbers"),
        ("# hw 48 64\n# K 50 60 32\n", "line 2 must hold 4 finite numbers"),
        ("# hw 48 64\n# K 50 60 32 24\n", "must hold at least one camera"),
        ("# hw 48 64\n# K 0 60 32 24\n0 1 2 3 0 0 0 1\n", "positive focal lengths"),
    ],
)
def test_tum_files_that_lie(tmp_path, text, sentence):
    path = tmp_path / "path.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load_cameras(path)


LENS = "1 PINHOLE 64 48 50 60 32 24\n"
VIEW = "1 1 0 0 0 0 0 0 1 a.png\n\n"


@pytest.mark.parametrize(
    ("cameras", "images", "sentence"),
    [
        ("1 OPENCV 64 48 50 60 32 24 0.1 0 0 0\n", VIEW, r"camera 1 has lens distortion \[0.1\]: undistort"),
        ("1 SIMPLE_RADIAL 64 48 50 32 24 -0.2\n", VIEW, "lens distortion"),
        ("1 OPENCV_FISHEYE 64 48 50 60 32 24 0 0 0 0\n", VIEW, "is no pinhole but OPENCV_FISHEYE"),
        ("1 PINHOLE 64 48 50 60 32\n", VIEW, "line 1 can not be read"),
        ("1 TELESCOPE 64 48 50 60 32 24\n", VIEW, "line 1 can not be read: `1 TELESCOPE"),
        ("1 PINHOLE 64 48 50 60 32 nan\n", VIEW, "camera 1 must have finite parameters"),
        ("1 PINHOLE 0 48 50 60 32 24\n", VIEW, "image sides must be 1 to"),
        (LENS + "2 PINHOLE 32 48 50 60 32 24\n", VIEW + VIEW.replace("0 1 a", "0 2 b"), "one size, got 32 x 48, 64"),
        (LENS, "", "is empty"),
        (LENS, "# nothing\n", "must hold at least one camera"),
        (LENS, VIEW.replace("0 1 a", "0 5 a"), "a.png names camera 5, which is not there"),
        (LENS, "1 1 0 0 0 0 0 0\n\n", "line 1 can not be read"),
        (LENS, "1 nan 0 0 0 0 0 0 1 a.png\n\n", "image 1 must have seven finite numbers"),
        (LENS, "1 0.5 0 0 0 0 0 0 1 a.png\n\n", "quaternion of length 1, got wxyz"),
    ],
)
def test_colmap_text_that_lies(tmp_path, cameras, images, sentence):
    (tmp_path / "cameras.txt").write_text(cameras)
    (tmp_path / "images.txt").write_text(images)
    with pytest.raises(ValueError, match=sentence):
        load_cameras(tmp_path)


@pytest.mark.parametrize("model", ["OPENCV 64 48 50 60 32 24 0 0 0 0", "SIMPLE_RADIAL 64 48 50 32 24 0"])
def test_a_lens_whose_distortion_is_zero_is_a_pinhole(tmp_path, model):
    (tmp_path / "cameras.txt").write_text(f"1 {model}\n")
    (tmp_path / "images.txt").write_text(VIEW)
    assert_close(load_cameras(tmp_path).K[0, 0], torch.tensor([50.0, 0, 32]))


def test_colmap_binaries_that_lie(tmp_path):
    write_colmap(random_cameras(3), tmp_path, binary=True)
    for name in ("cameras.bin", "images.bin"):
        whole = (tmp_path / name).read_bytes()
        for data, sentence in [
            (whole[: len(whole) // 2], "is truncated"),
            (whole[:3], "is truncated"),
            (struct.pack("<Q", 1 << 62) + whole[8:], "is truncated"),
        ]:
            (tmp_path / name).write_bytes(data)
            with pytest.raises(ValueError, match=f"{name} {sentence}"):
                load_cameras(tmp_path)
        (tmp_path / name).write_bytes(whole)
    whole = (tmp_path / "cameras.bin").read_bytes()
    (tmp_path / "cameras.bin").write_bytes(whole[:12] + struct.pack("<i", 99) + whole[16:])
    with pytest.raises(ValueError, match="is of model 99, expected 0 to 10"):
        load_cameras(tmp_path)
    (tmp_path / "cameras.bin").write_bytes(whole)
    whole = (tmp_path / "images.bin").read_bytes()
    (tmp_path / "images.bin").write_bytes(whole[:-8] + struct.pack("<Q", 1 << 60))
    with pytest.raises(ValueError, match=r"images\.bin is truncated: 1152921504606846976 points promised"):
        load_cameras(tmp_path)


# --- COLMAP: several sizes, and points ---------------------------------------------------------------------------


def some_points(n=5):
    generator = torch.Generator().manual_seed(4)
    return PointCloud(xyz=torch.randn(n, 3, generator=generator) * 100, rgb=torch.rand(n, 3, generator=generator))


@pytest.mark.parametrize("binary", [False, True])
def test_images_of_several_sizes_and_points_survive(tmp_path, binary):
    groups = [random_cameras(2, seed=1), random_cameras(3, seed=2, hw=(10, 20)), random_cameras(1, seed=3)]
    names = [f"{i}.png" for i in range(6)]
    write_colmap_groups(groups, tmp_path, names, points=some_points(), binary=binary)
    first, second = read_colmap_groups(tmp_path)
    assert first.names == ("0.png", "1.png", "5.png") and second.names == ("2.png", "3.png", "4.png")
    assert first.cameras.hw == (48, 64) and second.cameras.hw == (10, 20)
    both = torch.cat([groups[0].world_from_cam, groups[2].world_from_cam])
    assert_close(first.cameras.world_from_cam, both, atol=1e-6, rtol=1e-6)
    assert_close(second.cameras.world_from_cam, groups[1].world_from_cam, atol=1e-6, rtol=1e-6)
    found = read_colmap_points(tmp_path)
    assert_close(found.xyz, some_points().xyz)
    assert_close(found.rgb, some_points().rgb, atol=0.51 / 255, rtol=0)
    with pytest.raises(ValueError, match="all images must have one size, got 20 x 10, 64 x 48"):
        load_cameras(tmp_path)


def test_points_with_tracks_are_read(tmp_path):
    write_colmap(random_cameras(1), tmp_path, binary=True)
    point = struct.pack("<Q3d3Bd", 7, 1.0, 2.0, 3.0, 255, 0, 51, 0.5)
    tracks = struct.pack("<Q4i", 2, 1, 0, 2, 9), struct.pack("<Q", 0)
    (tmp_path / "points3D.bin").write_bytes(struct.pack("<Q", 2) + point + tracks[0] + point + tracks[1])
    found = read_colmap_points(tmp_path)
    assert found.xyz.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert_close(found.rgb[1], torch.tensor([1.0, 0.0, 0.2]))
    write_colmap(random_cameras(1), tmp_path)
    (tmp_path / "points3D.txt").write_text("# points\n7 1 2 3 255 0 51 0.5 1 0 2 9\n\n8 1 2 3 255 0 51 0\n")
    assert_close(read_colmap_points(tmp_path).rgb, found.rgb)
    (tmp_path / "points3D.txt").write_text("# none\n")
    assert len(read_colmap_points(tmp_path).xyz) == 0


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("points3D.bin", struct.pack("<Q", 1 << 60), "1152921504606846976 points promised, the file ends before"),
        ("points3D.bin", struct.pack("<QQ3d3BdQ", 1, 7, 1, 2, 3, 0, 0, 0, 0, 1 << 61), "ends within a record"),
        ("points3D.bin", struct.pack("<QQ3d3BdQ", 1, 7, 1, math.nan, 3, 0, 0, 0, 0, 0), "every value must be finite"),
        ("points3D.bin", b"\0\0\0", "is truncated"),
        ("points3D.txt", b"7 1 2 x 0 0 0 0\n", "line 1 can not be read"),
        ("points3D.txt", b"7 1 2 inf 0 0 0 0\n", "line 1 can not be read"),
        ("points3D.txt", b"7 1 2 3 0 0 256 0\n", "line 1 can not be read"),
        ("points3D.txt", b"7 1 2 3 0 0 0\n", "line 1 can not be read"),
    ],
)
def test_colmap_points_that_lie(tmp_path, name, data, sentence):
    write_colmap(random_cameras(1), tmp_path, binary=name.endswith("bin"))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"{name} .*{sentence}|{name}: {sentence}"):
        read_colmap_points(tmp_path)


# --- paths and values --------------------------------------------------------------------------------------------


def test_paths_that_lead_nowhere(tmp_path):
    for place, error, sentence in [
        ("no.json", FileNotFoundError, "camera file not found"),
        ("no.txt", FileNotFoundError, "camera file not found"),
        ("nothing", FileNotFoundError, "COLMAP folder not found"),
        (".", FileNotFoundError, r"no COLMAP model \(cameras.txt or cameras.bin\)"),
        ("cameras.yaml", ValueError, r"cameras must be transforms\.json, .* got 'cameras\.yaml'"),
    ]:
        with pytest.raises(error, match=sentence):
            load_cameras(tmp_path / place)
    (tmp_path / "empty.json").touch()
    with pytest.raises(ValueError, match="is empty"):
        load_cameras(tmp_path / "empty.json")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="a COLMAP model is a folder, got a file"):
        save_cameras(random_cameras(1), tmp_path / "file")
    with pytest.raises(ValueError, match="cameras must be written to"):
        save_cameras(random_cameras(1), tmp_path / "cameras.yaml")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("name", "index", "value", "sentence"),
    [
        ("world_from_cam", (0, 0, 3), float("nan"), "camera 0 must have a finite matrix"),
        ("world_from_cam", (1, 0, 0), 3.0, r"camera 1 must be a rotation and a shift, but R R\^T differs"),
        ("K", (1, 0, 0), float("inf"), "camera 1 must have finite intrinsics"),
        ("K", (0, 1, 1), -1.0, "camera 0 must have positive focal lengths"),
        ("K", (0, 0, 1), 2.0, "pinholes without skew"),
    ],
)
def test_nothing_is_written_of_cameras_that_can_not_be(tmp_path, place, name, index, value, sentence):
    cameras = random_cameras(2)
    getattr(cameras, name)[index] = value
    with pytest.raises(ValueError, match=sentence):
        save_cameras(cameras, tmp_path / place)
    assert not list(tmp_path.iterdir())
