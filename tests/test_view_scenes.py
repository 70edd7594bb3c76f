"""Training scenes of novel views: pairs from rooms by the small scaffold, clips of public data sets, the files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from onescene.cli import main
from onescene.cli.data import BLOCK_PX
from onescene.data.public.clips import ClipConfig, PosedClip, choose_frames, read_clips, scene_of_clip
from onescene.data.view_scenes import SceneSet, ViewScene, pack_scenes, read_scene, shows_something
from onescene.geometry.perspective import intrinsics_from_fov
from onescene.metrics import psnr
from onescene.models.loading import load_scaffold
from onescene.models.seva import SMALL
from onescene.models.seva.encoders import LinearAutoencoder
from onescene.pipeline.view_scenes import PairConfig, scene_of_panorama
from onescene.training.posed import PosedRooms

PX = 32


@pytest.fixture(scope="module")
def rooms() -> PosedRooms:
    return PosedRooms(1, (96, 192), seed=3, views=3)


# --- pairs from panoramas --------------------------------------------------------------------------------------------


def test_a_room_gives_pairs_that_show_the_same_place(rooms):
    """The scaffold stands where the truth stands: its renders are nearer to their own true views than to the others."""
    scene = scene_of_panorama(rooms, 0, "room", load_scaffold()[0], PairConfig(px=64))
    assert scene.clean_rgb.shape == (6, 64, 64, 3) and scene.true_rgb.shape == scene.rendered_rgb.shape == (
        3,
        64,
        64,
        3,
    )
    assert_close(scene.clean_world_from_cam[:, :3, 3], np.zeros((6, 3), np.float32))
    true, rendered = (torch.from_numpy(x).permute(0, 3, 1, 2) / 255 for x in (scene.true_rgb, scene.rendered_rgb))
    table = torch.tensor([[float(psnr(r, t)) for t in true] for r in rendered])
    assert table.argmax(dim=1).tolist() == [0, 1, 2] and float(table.diagonal().min()) > 12
    # 5 to 25 % of the median distance, which is 2 world units here
    away = np.linalg.norm(scene.world_from_cam[:, :3, 3], axis=1)
    assert (away > 0.02).all() and (away < 0.75).all()
    side = rooms.views(0).rgb.shape[1]
    assert_close(
        torch.from_numpy(scene.K[0]), intrinsics_from_fov(80.0, (side, side)) / torch.tensor([[side], [side], [1]])
    )


def test_renders_are_kept_whole_as_well(rooms, monkeypatch):
    """From so far away that there are holes: what is seen stays, what is black is filled."""
    views = rooms.views(0)
    far = views.world_from_cam.copy()
    far[:, :3, 3] *= 12
    monkeypatch.setattr(PosedRooms, "views", lambda self, index: replace(views, world_from_cam=far))
    scene = scene_of_panorama(rooms, 0, "room", load_scaffold()[0], PairConfig(px=64))
    filled = scene.whole_rgb.astype(int) - scene.rendered_rgb
    assert filled.min() >= -1 and filled.max() > 50
    assert filled[scene.rendered_rgb.max(axis=-1) == 0].max() > 50 and np.median(filled) == 0


# --- files -----------------------------------------------------------------------------------------------------------


def scene_named(name: str, empty: int = 0) -> ViewScene:
    """Four grey true views, the first renders of which show nothing."""
    grey = np.full((4, PX, PX, 3), 90, np.uint8)
    rendered = grey.copy()
    rendered[:empty] = 0
    poses = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    poses[:, 0, 3] = range(4)
    K = np.tile(np.eye(3, dtype=np.float32), (4, 1, 1))
    clean = {"clean_rgb": grey, "clean_world_from_cam": poses, "clean_K": K}
    return ViewScene(name=name, **clean, true_rgb=grey, rendered_rgb=rendered, world_from_cam=poses, K=K)


def test_scenes_are_packed_once_and_read_back_without_empty_renders(tmp_path):
    asked = []

    def make(name: str) -> ViewScene | None:
        asked.append(name)
        return {"a": scene_named("a", 1), "b": scene_named("b", 4), "c": None}[name]

    said = []
    assert pack_scenes("abc", make, tmp_path / "out", lambda *x: said.append(x)) == 1
    assert said == [("a", True), ("b", False), ("c", False)]
    pack_scenes("a", make, tmp_path / "out")
    assert asked == ["a", "b", "c"], "what is there is not made again"
    scenes = SceneSet(tmp_path / "out")
    assert len(scenes) == 1 and len(scenes[0]) == 3 and scenes[0].world_from_cam[:, 0, 3].tolist() == [1, 2, 3]
    assert scenes[0].whole_rgb is None and scenes[0].renders(whole=True) is not None, "a clip's renders have none"
    filled = replace(scene_named("d", 1), whole_rgb=np.stack([np.full((PX, PX, 3), i, np.uint8) for i in range(4)]))
    pack_scenes("d", lambda name: filled, tmp_path / "out")
    assert read_scene(tmp_path / "out/d.npz").renders(whole=True)[:, 0, 0, 0].tolist() == [1, 2, 3]
    (tmp_path / "out/a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match=r"a\.npz must be a packed scene of views"):
        read_scene(tmp_path / "out/a.npz")
    with pytest.raises(FileNotFoundError, match="found none in"):
        SceneSet(tmp_path)


def test_an_empty_render_is_one_that_is_nearly_all_black():
    rendered = np.zeros((10, 10, 3), np.uint8)
    rendered[0, :9, 2] = 60
    assert not shows_something(rendered)
    rendered[0, 9, 1] = 60
    assert shows_something(rendered)


# --- clips -----------------------------------------------------------------------------------------------------------


def picture(path, hw, shade: int) -> None:
    """Red grows to the right, green downwards, blue says which frame."""
    y, x = np.mgrid[: hw[0], : hw[1]]
    rgb = np.stack((x * 255 // hw[1], y * 255 // hw[0], np.full_like(x, shade)), axis=-1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb.astype(np.uint8)).save(path)


@pytest.fixture
def re10k(tmp_path):
    """Two clips; of the first, six of seven frames have pictures, the camera walks along x."""
    root = tmp_path / "re10k"
    for part, clip in (("train", "0a1b"), ("test", "ffff")):
        lines = ["https://www.youtube.com/watch?v=x"]
        for i in range(7):
            cam_from_world = np.eye(4)
            cam_from_world[0, 3] = -0.1 * i
            numbers = [0.5, 0.9, 0.5, 0.5, 0, 0, *cam_from_world[:3].flatten()]
            lines.append(" ".join([str(1000 * i), *map(str, numbers)]))
            if i != 3:
                picture(root / "frames" / part / clip / f"{1000 * i}.png", (36, 64), 10 * i)
        (root / part).mkdir()
        (root / part / f"{clip}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_realestate10k_by_hand(re10k):
    (clip,) = read_clips("realestate10k", re10k, "train")
    assert (clip.name, clip.split) == ("0a1b", "train")
    assert [f.stem for f in clip.frames] == ["0", "1000", "2000", "4000", "5000", "6000"]
    assert_close(clip.world_from_cam[:, 0, 3], np.array([0, 0.1, 0.2, 0.4, 0.5, 0.6], np.float32))
    rgb, K = clip.square(1, 18)
    # 64 x 36 with fx = 0.5 * 64 = 32, fy = 0.9 * 36 = 32.4; the square of 36 starts at x = 14
    assert_close(K, np.array([[32 / 36, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]], np.float32))
    assert rgb.shape == (18, 18, 3) and abs(int(rgb[9, 0, 0]) - 15 * 255 // 64) <= 3 and (rgb[..., 2] == 10).all()
    assert [c.name for c in read_clips("realestate10k", re10k)] == ["0a1b", "ffff"]


def dl3dv(root, distortion: float):
    """A scene as handed out: full size 3840 x 2160 in the file, pictures a quarter of it (here: 64 x 36)."""
    frames = []
    for i in range(5):
        pose = np.eye(4)
        pose[:3, 3] = [0.1 * i, 0, 0]
        frames.append({"file_path": f"images/frame_{i + 1:05d}.png", "transform_matrix": pose.tolist()})
        picture(root / "1K/abcd/images_4" / f"frame_{i + 1:05d}.png", (36, 64), 10 * i)
    size = {"w": 3840, "h": 2160, "fl_x": 1920.0, "fl_y": 1920.0, "cx": 1920.0, "cy": 1080.0}
    lens = {"camera_model": "OPENCV", "k1": distortion, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    (root / "1K/abcd/transforms.json").write_text(json.dumps(size | lens | {"frames": frames[::-1]}))
    return root


def test_dl3dv_by_hand(tmp_path):
    (clip,) = read_clips("dl3dv", dl3dv(tmp_path, 0.0))
    assert (clip.name, clip.split, len(clip.frames)) == ("abcd", "train", 5)
    assert clip.frames[0].name == "frame_00001.png"
    assert_close(
        clip.world_from_cam[2],
        np.diag([1.0, -1, -1, 1]).astype(np.float32)
        + 0.2 * np.eye(4, dtype=np.float32)[[0]].T @ np.eye(4, dtype=np.float32)[[3]],
    )
    K = clip.square(0, 36)[1]
    assert_close(K, np.array([[32 / 36, 0, 0.5], [0, 32 / 36, 0.5], [0, 0, 1]], np.float32))


def test_a_lens_is_straightened(tmp_path):
    """With k1 a point at radius r of the straight picture is taken from r (1 + k1 r^2) of the bent one."""
    k1 = 0.2
    (clip,) = read_clips("dl3dv", dl3dv(tmp_path, k1))
    straight, _ = clip.square(0, 36)
    column = 30
    r = (column + 14 - 32) / 32
    source = 32 + 32 * r * (1 + k1 * r**2)
    assert abs(int(straight[18, column, 0]) - source * 255 / 64) <= 4
    render = tmp_path / "render.png"
    picture(render, (36, 64), 0)
    assert abs(int(clip.square(0, 36, render)[0][18, column, 0]) - (column + 14) * 255 / 64) <= 4


def test_targets_are_the_frames_farthest_from_any_context():
    poses = np.tile(np.eye(4, dtype=np.float32), (11, 1, 1))
    poses[:, 0, 3] = np.arange(11) ** 2  # faster and faster
    clip = PosedClip(name="x", split="train", frames=tuple(range(11)), world_from_cam=poses, K=poses[:, :3, :3])
    clean, targets = choose_frames(clip, ClipConfig(span=11, clean=3, targets=2))
    assert (clean, targets) == ([0, 5, 10], [7, 8])
    assert choose_frames(clip, ClipConfig(span=3, clean=5)) == ([4, 5, 6], [])


def test_clips_become_scenes_where_the_user_has_renders(re10k, tmp_path, capsys):
    words = ["data", "clips", str(re10k), "--dataset", "realestate10k", "--renders", str(tmp_path / "mine")]
    words += ["--out", str(tmp_path / "out"), "--px", "32"]
    assert main(words) == 2 and "no such folder" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    assert main(words) == 2 and "has a render in" in capsys.readouterr().err
    picture(tmp_path / "mine/0a1b/4000.png", (36, 64), 200)
    assert main(words) == 0
    (scene,) = list(SceneSet(tmp_path / "out"))
    assert scene.clean_rgb.shape == (5, 32, 32, 3) and len(scene) == 1
    assert (scene.true_rgb[0, ..., 2] == 40).all() and (scene.rendered_rgb[0, ..., 2] == 200).all()
    assert_close(scene.world_from_cam[0, 0, 3], np.float32(0.4))
    _, other = read_clips("realestate10k", re10k)
    assert scene_of_clip(other, tmp_path / "mine", ClipConfig(px=8)) is None


def test_what_is_no_clip_is_refused(tmp_path):
    with pytest.raises(ValueError, match="dataset must be one of dl3dv, realestate10k, got 'acid'"):
        read_clips("acid", tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_clips("dl3dv", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no clip with pictures of the split heldout"):
        read_clips("dl3dv", tmp_path, "heldout")
    (tmp_path / "train").mkdir()
    (tmp_path / "train/x.txt").write_text("url\n1 2 3\n")
    with pytest.raises(ValueError, match="must hold 19 numbers a line"):
        read_clips("realestate10k", tmp_path)
    (tmp_path / "transforms.json").write_text('{"frames": [{}]}')
    with pytest.raises(ValueError, match=r"must be a transforms\.json of DL3DV-10K"):
        read_clips("dl3dv", tmp_path)
    with pytest.raises(ValueError, match="must be >= 1"):
        ClipConfig(px=0)


FLAT, TURNED = "1 0 0 0 0 1 0 0 0 0 1 0", "1 0 0 0 0 1 0 0 0 0 -1 0"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (f"1000 .5 .9 .5 .5 0 0 {' '.join(['nan'] * 12)}", "x.txt: frame 0 must have a finite matrix"),
        (f"1000 .5 .9 .5 .5 0 0 {' '.join(['0'] * 12)}", "x.txt: frame 0 must be a rotation and a shift"),
        (f"1000 .5 .9 .5 .5 0 0 {TURNED}", "x.txt: frame 0 must be a rotation and a shift, but it is a mirror image"),
        (f"1000 nan .9 .5 .5 0 0 {FLAT}", "x.txt: frame 0 must have finite intrinsics"),
        (f"1000 .5 -.9 .5 .5 0 0 {FLAT}", "x.txt: frame 0 must have positive focal lengths"),
        (f"nan .5 .9 .5 .5 0 0 {FLAT}", "x.txt must begin every line with its frame's time"),
    ],
)
def test_a_damaged_line_of_realestate10k_is_refused(tmp_path, line, sentence):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/x.txt").write_text(f"url\n{line}\n")
    picture(tmp_path / "frames/train/x/1000.png", (36, 64), 10)
    with pytest.raises(ValueError, match=sentence):
        read_clips("realestate10k", tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fl_x": float("nan")}, "frame 0 must have finite intrinsics"),
        ({"fl_y": -1920.0}, "frame 0 must have positive focal lengths"),
        ({"k1": float("inf")}, "must have a finite distortion"),
        ({"transform_matrix": np.zeros((4, 4)).tolist()}, "frame 2 must have the last row 0 0 0 1"),
        ({"transform_matrix": np.diag([2.0, 2, 2, 1]).tolist()}, "frame 2 must be a rotation and a shift"),
    ],
)
def test_a_damaged_camera_file_of_dl3dv_is_refused(tmp_path, change, sentence):
    path = dl3dv(tmp_path, 0.0) / "1K/abcd/transforms.json"
    content = json.loads(path.read_text())
    (content["frames"][2] if "transform_matrix" in change else content).update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=sentence):
        read_clips("dl3dv", tmp_path)


def test_pairs_have_sides_that_the_small_network_takes(tmp_path, capsys):
    assert SMALL.stride * LinearAutoencoder().factor == BLOCK_PX
    for px in ("0", "48"):
        assert main(["data", "pairs", "--data", "rooms", "--px", px, "--out", str(tmp_path / "out")]) == 2
        assert f"it must be a multiple of 32 pixels, got {px}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pairs_made_otherwise_are_not_mixed(tmp_path, capsys):
    words = ["data", "pairs", "--data", "rooms", "--count", "1", "--px", "32", "--out", str(tmp_path / "out")]
    assert main(words) == 0 and main(words) == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    for more, told in ((["--seed", "7"], "seed 0, not 7"), (["--px", "64"], "px 32, not 64")):
        capsys.readouterr()
        assert main([*words, *more]) == 2
        assert f"holds scenes made with {told}: give another --out" in capsys.readouterr().err
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}


def test_pairs_from_the_command_line(tmp_path, capsys):
    words = ["data", "pairs", "--data", "rooms", "--count", "1", "--px", "32", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "1 scenes" in capsys.readouterr().out and len(SceneSet(tmp_path / "out")[0]) >= 1
    assert main(["data", "pairs", "--data", "rooms", "--data", "x", "--out", str(tmp_path / "o")]) == 2
    assert "folders or rooms" in capsys.readouterr().err
