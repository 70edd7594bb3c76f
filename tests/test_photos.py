"""Photographed panoramas out of packages: every kind of file, splits by name, tone mapping by hand, bad input."""

import base64

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from onescene.cli import main
from onescene.data import photos
from onescene.data.colours import photos_to_train
from onescene.data.splits import HELD_OUT_PANORAMAS, SHOWN_PANORAMAS
from onescene.geometry.cubemap import faces_from_panorama
from onescene.io import load_image, save_image


def write_exr(path, linear):
    openexr = pytest.importorskip("OpenEXR")
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {"RGB": np.ascontiguousarray(linear, dtype=np.float32)}).write(str(path))


def packages(folder, split):
    """A file for every photograph of a split: a grey ramp with a photograph's own brightness."""
    for k, photo in enumerate(p for p in photos.PHOTOS if p.split == split):
        path = folder / "package" / photo.file
        path.parent.mkdir(parents=True, exist_ok=True)
        linear = np.linspace(0.1, 1 + k, 64 * 128 * 3, dtype=np.float32).reshape(64, 128, 3)
        if photo.file.endswith(".exr"):
            write_exr(path, linear)
        elif photo.file.endswith(".js"):
            write_exr(path.with_suffix(""), linear)
            coded = base64.b64encode(path.with_suffix("").read_bytes()).decode()
            path.write_text(f"export default 'data:application/exr;base64,{coded}'")
            path.with_suffix("").unlink()
        else:
            for name in ("posx", "negx", "posy", "negy", "posz", "negz"):
                save_image(torch.full((3, 64, 64), k / 10), path.with_name(f"{name}.png"))
                path.with_name(f"{name}.png").rename(path.with_name(f"{name}.jpg"))
    return folder


def test_names_say_who_is_held_out():
    names = [p.name for p in photos.PHOTOS]
    assert len(set(names)) == len(names) == 21
    for photo in photos.PHOTOS:
        assert (photo.split == "heldout") == photo.name.startswith(HELD_OUT_PANORAMAS), photo.name
        assert not any(name in photo.name for name in SHOWN_PANORAMAS)


@pytest.mark.parametrize(("split", "count"), [("train", 10), ("validation", 3), ("heldout", 8)])
def test_a_split_is_written_once(tmp_path, capsys, split, count):
    words = [
        "data",
        "photos",
        "--packages",
        str(packages(tmp_path / "packs", split)),
        "--split",
        split,
        "--height",
        "32",
    ]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    files = sorted((tmp_path / "out").glob("*"))
    assert len(files) == count and f"{count} photographs" in capsys.readouterr().out
    assert {tuple(load_image(f).shape) for f in files} == {(3, 32, 64)}
    first = files[0]
    first.write_bytes(b"mine")  # what is there already is kept
    assert main([*words, "--out", str(tmp_path / "out")]) == 0 and first.read_bytes() == b"mine"
    if split == "heldout":
        with pytest.raises(FileNotFoundError, match="may be trained on"):
            photos_to_train(tmp_path / "out")
    else:
        assert photos_to_train(tmp_path / "out") == files


def test_no_photograph_is_enlarged(tmp_path):
    written = photos.write_photos(
        packages(tmp_path, "validation"), tmp_path / "out", "validation", 512, lambda path: None
    )
    assert {tuple(load_image(f).shape) for f in written} == {(3, 64, 128)}


def test_tone_mapping_is_reinhards():
    linear = np.full((2, 4, 3), 0.5, dtype=np.float32)
    linear[0] = 2.0
    scaled = linear / np.exp(np.log(linear[..., 0] + 1e-4).mean()) * 0.18
    assert_close(photos.tone_map(linear), ((scaled * (1 + scaled / 16)) / (1 + scaled)) ** (1 / 2.2), rtol=1e-5, atol=0)
    linear[1, 0] = (np.nan, np.inf, -1.0)
    assert np.array_equal(photos.tone_map(linear)[1, 0], np.zeros(3))


def test_six_faces_come_back_as_they_are_laid_out(tmp_path):
    """Faces cut from a panorama, turned as that package has them, make the panorama again."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-np.pi, np.pi, 128), indexing="ij")
    true = torch.stack((0.5 + 0.3 * y, 0.5 + 0.3 * x.sin() * (1 - y**2), 0.5 + 0.3 * x.cos() * (1 - y**2)))
    faces = faces_from_panorama(true, 32, 90.0)
    for face, name, turns in zip(
        faces, ("posz", "posx", "negz", "negx", "posy", "negy"), (0, 0, 0, 0, 3, 1), strict=True
    ):
        save_image(face.rot90(turns, (1, 2)), tmp_path / f"{name}.png")
    assert_close(photos.read_photo(tmp_path / "posz.png"), true, rtol=0, atol=0.02)


def test_bad_input_in_one_sentence(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["data", "photos", "--out", str(out), "--split"]
    assert main([*words, "heldout", "--packages", str(tmp_path)]) == 2
    assert "packages must hold studiolights/world/city.exr, found none below" in capsys.readouterr().err
    assert main([*words, "mine", "--packages", str(tmp_path)]) == 2
    assert "split must be one of train, validation, heldout" in capsys.readouterr().err
    assert not out.exists()
    folder = packages(tmp_path / "packs", "validation")
    script = folder / "package" / photos.PHOTOS[10].file
    script.write_text("export default 'data:application/exr;base64,AAAA'")
    assert main([*words, "validation", "--packages", str(folder)]) == 2
    assert f"{script.name} must be an EXR with R, G and B, but it is damaged" in capsys.readouterr().err
    script.write_text("export default 1")
    assert main([*words, "validation", "--packages", str(folder)]) == 2
    assert "photograph must be an EXR in base64, found none in" in capsys.readouterr().err
    faces = packages(tmp_path / "humus", "heldout") / "package"
    (face,) = faces.rglob("teide/posy.jpg")
    face.write_bytes(b"no picture")
    assert main([*words, "heldout", "--packages", str(faces)]) == 2
    assert "teide/posy.jpg must be a picture, but it is damaged" in capsys.readouterr().err
    face.unlink()
    assert main([*words, "heldout", "--packages", str(faces)]) == 2
    assert "photograph must have six faces, found no" in capsys.readouterr().err
    assert len(list(out.glob("*"))) == 7 and not list(out.glob("*.part"))  # those before the damaged one
