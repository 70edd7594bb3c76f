"""Readers of public panoramas: tiny trees in each official layout, numbers by hand, and damaged files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onescene.cli import main
from onescene.data.panoramas import read_map
from onescene.data.public import SOURCES, PublicSet, pack_public
from onescene.data.public.decode import panorama_from_cassini
from onescene.data.sets import MapSet
from onescene.geometry.equirect import directions_from_panorama
from onescene.pipeline import evaluation
from onescene.training.scaffold import PanoramaSet

H = 32
RGB = np.random.default_rng(0).integers(0, 255, (H, 2 * H, 3), dtype=np.uint8)
# what each row of the test's depth maps says, in metres; NaN = no measurement
ROWS_M = np.repeat([0.5, 2.0, 9.75, 12.0, np.nan, 3.25, 150.0, 1000.0], 4)
KNOWN_M = {name: np.where(ROWS_M <= source.cap_m, ROWS_M, np.nan) for name, source in SOURCES.items()}
KNOWN_M["deep360"][ROWS_M == 1000] = np.inf  # the renderer's far plane


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="JPEG" if path.suffix == ".jpg" else "PNG")


def coded(steps_per_metre: int, missing: int) -> np.ndarray:
    """The rows as a 16-bit PNG has them; what is too far for 16 bits is missing."""
    steps = ROWS_M * steps_per_metre
    code = np.where(steps < 65535, steps, missing).round().astype(np.uint16)
    return np.repeat(code[:, None], 2 * H, axis=1)


def cassini(panorama: np.ndarray) -> np.ndarray:
    """A panorama as a Cassini image, pixel by pixel: the nearest pixel in each direction."""
    tall, wide = 2 * H, H
    out = np.zeros((tall, wide, *panorama.shape[2:]), panorama.dtype)
    for r in range(tall):
        for c in range(wide):
            around, sideways = ((r + 0.5) / tall - 0.5) * 2 * math.pi, ((c + 0.5) / wide - 0.5) * math.pi
            x, y, z = math.sin(sideways), math.cos(sideways) * math.sin(around), math.cos(sideways) * math.cos(around)
            column, row = (math.atan2(x, z) / (2 * math.pi) + 0.5) * 2 * H, (0.5 + math.asin(y) / math.pi) * H
            out[r, c] = panorama[min(int(row), H - 1), int(column) % (2 * H)]
    return out


def structured3d(root: Path, scene: str = "scene_00000", room: str = "485142") -> tuple[Path, Path]:
    folder = root / scene / "2D_rendering" / room / "panorama" / "full"
    write_png(folder / "rgb_rawlight.png", np.dstack((RGB, np.full((H, 2 * H), 255, np.uint8))))  # they are RGBA
    write_png(folder / "depth.png", coded(1000, 0))
    return folder / "rgb_rawlight.png", folder / "depth.png"


def deep360(root: Path, part: str = "ep1_500frames/training", frame: str = "000001") -> tuple[Path, Path]:
    folder = root / part
    for pair in ("12_rgb1", "12_rgb2", "13_rgb1"):
        write_png(folder / "rgb" / f"{frame}_{pair}.png", cassini(RGB) if pair == "12_rgb1" else cassini(RGB) // 2)
    (folder / "depth").mkdir(parents=True, exist_ok=True)
    depth = folder / "depth" / f"{frame}_depth.npz"
    metres = np.where(np.isnan(ROWS_M), 0, ROWS_M).astype(np.float32)
    np.savez(depth, cassini(np.repeat(metres[:, None], 2 * H, axis=1)))
    return folder / "rgb" / f"{frame}_12_rgb1.png", depth


def matterport3d(root: Path, scene: str = "17DRP5sb8fy", place: str = "00ebbf37") -> tuple[Path, Path]:
    write_png(root / scene / "pano_skybox_color" / f"{place}.jpg", RGB)
    write_png(root / scene / "pano_depth" / f"{place}.png", coded(4000, 0))
    return root / scene / "pano_skybox_color" / f"{place}.jpg", root / scene / "pano_depth" / f"{place}.png"


def stanford2d3d(root: Path, area: str = "area_1", place: str = "camera_0d600f92_office_8") -> tuple[Path, Path]:
    name = f"{place}_frame_equirectangular_domain"
    write_png(root / area / "pano" / "rgb" / f"{name}_rgb.png", RGB)
    write_png(root / area / "pano" / "depth" / f"{name}_depth.png", coded(512, 65535))
    return root / area / "pano" / "rgb" / f"{name}_rgb.png", root / area / "pano" / "depth" / f"{name}_depth.png"


WRITERS: dict[str, Callable[..., tuple[Path, Path]]] = {
    f.__name__: f for f in (structured3d, deep360, matterport3d, stanford2d3d)
}


# --- what the numbers mean ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", SOURCES)
def test_a_panorama_of_each_layout(tmp_path, dataset):
    WRITERS[dataset](tmp_path)
    data = PublicSet(dataset, tmp_path, height=H)
    assert isinstance(data, PanoramaSet) and len(data) == 1 and not data.without_depth
    rgb, distance, sky = data[0]
    assert (rgb.dtype, distance.dtype, sky.dtype) == (np.uint8, np.float32, bool)
    assert rgb.shape == (H, 2 * H, 3) and distance.shape == sky.shape == (H, 2 * H)
    inner = slice(4, -4)  # in Cassini's image, the first and the last rows of a panorama fill few pixels
    rows = range(H)[inner] if dataset == "deep360" else range(H)
    for row in rows:
        if dataset == "deep360" and row % 4 in (0, 3):
            continue  # next to another distance: the nearest pixel of Cassini's may be the other row's
        wanted = KNOWN_M[dataset][row]
        atol = 1e-3 if dataset == "stanford2d3d" else 2e-4
        np.testing.assert_allclose(distance[row], wanted, atol=atol, rtol=0, err_msg=f"row {row}")
        assert (sky[row] == np.isposinf(wanted)).all()
    if dataset in ("structured3d", "stanford2d3d"):
        np.testing.assert_array_equal(rgb, RGB)
    if dataset != "deep360":
        assert not sky.any()


def test_the_sky_of_deep360_is_what_lies_at_the_far_plane(tmp_path):
    _, depth = deep360(tmp_path)
    np.savez(depth, np.full((2 * H, H), 1000, np.float32) * np.where(np.arange(H) < H // 2, 1, 0.02))  # left: nothing
    _, distance, sky = PublicSet("deep360", tmp_path, height=H)[0]
    assert sky[:, 2 : H - 2].all() and np.isposinf(distance[:, 2 : H - 2]).all()
    assert not sky[:, H + 2 : -2].any()
    np.testing.assert_allclose(distance[:, H + 2 : -2], 20)


@pytest.mark.parametrize("dataset", SOURCES)
def test_smaller_panoramas_average_colour_and_pick_distances(tmp_path, dataset):
    WRITERS[dataset](tmp_path)
    (whole, full, _), (rgb, distance, _) = (
        PublicSet(dataset, tmp_path, height=H)[0],
        PublicSet(dataset, tmp_path, height=16)[0],
    )
    mean = whole.reshape(16, 2, H, 2, 3).mean(axis=(1, 3))
    assert np.abs(rgb - mean).max() <= 1
    np.testing.assert_array_equal(distance, full[1::2, 1::2])


# --- Cassini -----------------------------------------------------------------------------------------------------


def test_cassini_by_hand():
    """Forward is its middle, the right is its right rim, above lies a quarter from the top, behind is its ends."""
    image = np.zeros((64, 32), np.float32)
    image[31:33, 15:17], image[:, -1], image[15:17, 15:17], image[:1, 15:17], image[-1:, 15:17] = 1, 2, 3, 4, 5
    seen = panorama_from_cassini(image, mode="nearest")
    assert seen.shape == (32, 64)
    assert (seen[15:17, 31:33] == 1).all()  # ahead
    assert (seen[15:17, 47:49] == 2).all()  # to the right
    assert (seen[0] == 3).all()  # zenith
    assert seen[15, 0] == seen[15, -1] == 4 and seen[16, 0] == seen[16, -1] == 5  # behind, above and below the horizon


def test_cassini_shows_every_direction_where_it_is():
    tall = 256
    around = ((np.arange(tall) + 0.5) / tall - 0.5) * 2 * np.pi
    sideways = ((np.arange(tall // 2) + 0.5) / (tall // 2) - 0.5) * np.pi
    b, a = np.meshgrid(sideways, around)
    image = np.stack((np.sin(b), np.cos(b) * np.sin(a), np.cos(b) * np.cos(a)), axis=-1).astype(np.float32)
    wanted = directions_from_panorama((tall // 2, tall)).numpy()
    for mode, allowed in (("bilinear", 1e-3), ("nearest", 0.025)):  # half a pixel across is 0.017
        assert np.abs(panorama_from_cassini(image, mode=mode) - wanted).max() < allowed
    with pytest.raises(ValueError, match="twice as high as wide, got 32 x 32"):
        panorama_from_cassini(image[:32, :32], mode="nearest")


# --- splits ------------------------------------------------------------------------------------------------------

PLACES = {
    "structured3d": {"train": "scene_02999", "validation": "scene_03249", "heldout": "scene_03250"},
    "deep360": {
        "train": "ep6_500frames/training",
        "validation": "ep2_500frames/validation",
        "heldout": "ep1_500frames/testing",
    },
    "matterport3d": {"train": "17DRP5sb8fy", "validation": "2azQ1b91cZZ", "heldout": "2t7WUuJeko7"},
    "stanford2d3d": {"train": "area_6", "heldout": "area_5b"},
}


@pytest.mark.parametrize("dataset", SOURCES)
def test_splits_are_those_of_the_makers(tmp_path, dataset):
    for place in PLACES[dataset].values():
        WRITERS[dataset](tmp_path, place)
    if dataset == "matterport3d":
        with pytest.raises(ValueError, match=r"does not say which scenes are train: scenes_\{train,val,test\}\.txt"):
            PublicSet(dataset, tmp_path, "train")
        for name, split in (("train", "train"), ("val", "validation"), ("test", "heldout")):
            (tmp_path / f"scenes_{name}.txt").write_text(PLACES[dataset][split] + "\n")
    for split, place in PLACES[dataset].items():
        data = PublicSet(dataset, tmp_path, split)
        assert len(data) == 1 and data.name(0).startswith(place)
    assert len(PublicSet(dataset, tmp_path)) == len(PLACES[dataset])


# --- files that are not as they should be ------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, "can not be read"),
    "empty": (lambda path: path.write_bytes(b""), "can not be read"),
    "text": (lambda path: path.write_text("404: not found"), "can not be read"),
    "square": (lambda path: write_png(path, np.zeros((H, H), np.uint16)), "can not be read|twice as"),
    "8 bits": (lambda path: write_png(path, np.ones((H, 2 * H), np.uint8)), "can not be read"),
    "nothing known": (
        lambda path: write_png(path, np.zeros((H, 2 * H), np.uint16)),
        "no distance of at most|not be read",
    ),
    "pickled": (lambda path: np.savez(open(path, "wb"), np.array([{}], object)), "can not be read"),
}


@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("dataset", SOURCES)
def test_a_damaged_file_is_named(tmp_path, dataset, what):
    _, depth = WRITERS[dataset](tmp_path)
    damage, sentence = DAMAGES[what]
    damage(depth)
    with pytest.raises(ValueError, match=sentence) as caught:
        PublicSet(dataset, tmp_path, height=H)[0]
    assert str(depth) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dataset", SOURCES)
def test_damaged_colours_are_named(tmp_path, dataset):
    rgb, _ = WRITERS[dataset](tmp_path)
    truncate(rgb)
    with pytest.raises(ValueError, match="can not be read") as caught:
        PublicSet(dataset, tmp_path, height=H)[0]
    assert str(rgb) in str(caught.value)


@pytest.mark.parametrize("dataset", SOURCES)
def test_missing_depth_is_counted_and_a_folder_without_panoramas_is_refused(tmp_path, dataset):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        PublicSet(dataset, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=rf"no panorama with depth in .*: {dataset} keeps them as "):
        PublicSet(dataset, tmp_path)
    one, other = (list(PLACES[dataset].values()))[:2]
    WRITERS[dataset](tmp_path, one)
    rgb, depth = WRITERS[dataset](tmp_path, other)
    depth.unlink()
    data = PublicSet(dataset, tmp_path)
    assert len(data) == 1 and data.without_depth == [rgb.relative_to(tmp_path).as_posix()]
    with pytest.raises(FileNotFoundError, match="no panorama with depth in "):
        shutil.rmtree(tmp_path / one.split("/")[0])
        PublicSet(dataset, tmp_path)


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dataset must be one of structured3d, deep360, .*, got 'nyu'"):
        PublicSet("nyu", tmp_path)
    with pytest.raises(ValueError, match="split must be one of train, validation, heldout, got 'test'"):
        PublicSet("deep360", tmp_path, "test")
    with pytest.raises(ValueError, match="height must be >= 16, got 8"):
        PublicSet("deep360", tmp_path, height=8)


# --- packed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", SOURCES)
def test_packed_panoramas_are_the_same(tmp_path, dataset):
    places = list(PLACES[dataset].values())
    for place in places:
        WRITERS[dataset](tmp_path / "own", place)
    data = PublicSet(dataset, tmp_path / "own", height=H)
    index = pack_public(data, tmp_path / "packed")
    assert [entry["panoramas"] for entry in index["maps"].values()] == [1] * len(places)
    packed = MapSet(tmp_path / "packed")
    assert len(packed) == len(data) == len(places)
    for (rgb, distance, sky), (own_rgb, own, own_sky) in zip(packed, data, strict=False):
        np.testing.assert_array_equal(rgb, own_rgb)
        np.testing.assert_array_equal(sky, own_sky)
        np.testing.assert_allclose(distance, own, rtol=2e-4)  # NaN for NaN, infinity for infinity
        assert np.isnan(distance).any()
    panorama = read_map(tmp_path / "packed", packed.names[0])[0]
    np.testing.assert_array_equal(np.isnan(panorama.distance_m), np.isnan(packed[0][1]))


def test_packing_skips_by_name_keeps_and_goes_on(tmp_path):
    own, out = tmp_path / "own", tmp_path / "packed"
    for scene in ("scene_00000", "scene_00001"):
        structured3d(own, scene, "1")
    truncate(structured3d(own, "scene_00001", "2")[1])
    structured3d(own, "scene_00001", "3")[1].unlink()
    truncate(structured3d(own, "scene_00002")[0])
    data = PublicSet("structured3d", own, height=H)

    def stop(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_public(data, out, stop)
    first = out / "structured3d__scene_00000.npz"
    made = first.stat().st_mtime_ns
    index = pack_public(data, out)
    assert first.stat().st_mtime_ns == made
    assert index == json.loads((out / "index.json").read_text())
    counts = {name: (entry["panoramas"], list(entry["skipped"])) for name, entry in index["maps"].items()}
    place = "2D_rendering/{}/panorama/full/rgb_rawlight.png"
    assert counts == {
        "structured3d__scene_00000": (1, []),
        "structured3d__scene_00001": (1, ["scene_00001/" + place.format(2)]),
        "structured3d__scene_00002": (0, ["scene_00002/" + place.format(485142)]),
    }
    assert index["without_depth"] == ["scene_00001/" + place.format(3)]
    assert sorted(p.name for p in out.iterdir()) == [
        "index.json",
        "structured3d__scene_00000.npz",
        "structured3d__scene_00001.npz",
    ]
    with pytest.raises(ValueError, match=r"holds another set .*'height': 32.*, expected .*'height': 16"):
        pack_public(PublicSet("structured3d", own, height=16), out)


def test_a_set_of_which_nothing_can_be_read_leaves_nothing(tmp_path):
    truncate(stanford2d3d(tmp_path / "own")[1])
    with pytest.raises(ValueError, match=r"no panorama of .*own can be read; the first: .*_depth.png can not be read"):
        pack_public(PublicSet("stanford2d3d", tmp_path / "own"), tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


# --- the command line --------------------------------------------------------------------------------------------


def test_data_public_and_evaluate_scaffold_from_the_command_line(tmp_path, capsys, monkeypatch):
    own, out = tmp_path / "own", tmp_path / "packed ä"
    matterport3d(own)
    truncate(matterport3d(own, place="damaged")[1])
    matterport3d(own, place="alone")[1].unlink()
    words = ["data", "public", str(own), "--dataset", "matterport3d", "--height", str(H), "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == f"{out}: 1 panoramas of 1 scenes"
    assert "damaged.jpg: " in shown.err and "alone.jpg: its depth is missing" in shown.err

    def row(sample, network, config):
        known = sample.sky < 0.5
        return {"name": sample.name, "known": float(known.float().mean()), "mean": float(sample.distance[known].mean())}

    monkeypatch.setattr(evaluation, "evaluate_sample", row)
    words = ["evaluate", "scaffold", "--data", str(own), "--dataset", "matterport3d", "--height", str(H)]
    assert main([*words, "--out", str(tmp_path / "rows.csv")]) == 0
    shown = capsys.readouterr()
    rows = KNOWN_M["matterport3d"]
    mean = json.loads(shown.out)["mean"]
    assert mean["known"] == np.isfinite(rows).mean()
    assert mean["mean"] == pytest.approx(np.nanmean(rows), abs=1e-3)
    assert "skipped 17DRP5sb8fy/pano_skybox_color/damaged.jpg: " in shown.err
    assert (tmp_path / "rows.csv").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["data", "public", ".", "--dataset", "nyu", "--out", "x"], "dataset must be one of structured3d"),
        (["data", "public", "none", "--dataset", "deep360", "--out", "x"], "no such folder: none"),
        (["data", "public", ".", "--dataset", "deep360", "--out", "x"], "no panorama with depth in ."),
        (["data", "public", "own", "--dataset", "stanford2d3d", "--out", "f.txt"], "must be a folder, got the file"),
        (
            ["data", "public", "own", "--dataset", "stanford2d3d", "--split", "dev", "--out", "x"],
            "split must be one of",
        ),
        (["evaluate", "scaffold", "--data", ".", "--height", "64"], "--height is for --dataset"),
        (["evaluate", "scaffold", "--data", ".", "--dataset", "stanford2d3d"], "no panorama with depth"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence(tmp_path, capsys, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    stanford2d3d(tmp_path / "own")
    (tmp_path / "f.txt").write_text("mine")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.txt", "own"]
