"""Step 01 from the command line: methods by name, licences accepted once, and what is said before a method starts."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onescene.cli import main
from onescene.stages.panorama_methods import METHODS, PanoramaMethod

WORDS = {"weights": "a folder", "licence": "do as you like", "memory": "1 GB", "time": "1 s"}
SMALL = {"panorama_height": 64}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A photo, a panorama, a params file; licences are remembered in there too."""
    y, x = np.mgrid[0:80, 0:128]
    picture = np.stack((2 * x, 3 * y, 128 + 0 * x), axis=-1).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    Image.fromarray(picture[:64]).save(tmp_path / "panorama.png")
    (tmp_path / "small.yaml").write_text(json.dumps(SMALL))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def grey(monkeypatch) -> list:
    """A method that asks for a licence, reads a prompt and needs no photo; returns what it was asked."""
    asked = []

    def load(options):
        return lambda request: (asked.append(request), torch.full_like(request.placed.panorama, 0.5))[1]

    row = PanoramaMethod(
        name="grey", summary="grey", **WORDS, load=load, accept={"mild": "be kind"}, from_text=True, prompted=True
    )
    monkeypatch.setitem(METHODS, "grey", row)
    return asked


def panorama(*words: str) -> int:
    return main(["panorama", "--out", "out", "--params", "small.yaml", *words])


def test_weights_licence_memory_and_time_are_said_before_a_method_starts(folder, grey, capsys):
    assert panorama("photo.png", "--method", "grey", "--accept-license", "mild") == 0
    lines = capsys.readouterr().err.splitlines()
    said = "panorama by grey: weights: a folder; licence: do as you like; memory: 1 GB; time: 1 s"
    assert lines.index(said) == 0 and "01_panorama: done" in lines[-1]
    assert panorama("photo.png", "--method", "grey") == 0
    assert "by grey" not in capsys.readouterr().err  # up to date: nothing starts


def test_a_licence_is_asked_for_and_remembered(folder, grey, capsys):
    assert panorama("photo.png", "--method", "grey") == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1 and "asks to accept mild (be kind): read them, then give --accept-license mild" in error
    )
    assert not grey and not (folder / "out").exists()
    assert panorama("photo.png", "--method", "grey", "--accept-license", "wild") == 2
    assert "--accept-license must be one of " in capsys.readouterr().err
    assert panorama("photo.png", "--method", "grey", "--accept-license", "mild") == 0
    assert panorama("photo.png", "--method", "grey", "--seed", "7") == 0
    assert [r.seed for r in grey] == [0, 7]
    (folder / "config" / "onescene" / "accepted-licences.json").write_text("{damaged")
    assert panorama("photo.png", "--method", "grey", "--seed", "8") == 2


def test_the_photo_and_the_words_reach_the_method(folder, grey):
    words = ("--prompt", "ein Garten, 庭園", "--negative-prompt", "people", "--pitch-deg", "20", "--roll-deg", "-5")
    assert panorama("photo.png", "--method", "grey", *words, "--fov-deg", "60", "--accept-license", "mild") == 0
    (request,) = grey
    assert (request.prompt, request.negative_prompt) == ("ein Garten, 庭園", "people")
    rows = torch.nonzero(request.placed.mask)[:, 0].float()
    assert abs(float((0.5 - (rows.mean() + 0.5) / 64) * 180) - 20) < 3  # the photo's centre stands 20 degrees high
    mask = np.asarray(Image.open("out/01_panorama/mask.png")) > 0
    image = np.asarray(Image.open("out/01_panorama/panorama.png"))
    assert (image[mask] == 128).all() and 0.03 < (~mask).mean() < 0.05


def test_words_alone_make_a_panorama(folder, grey):
    assert panorama("--method", "grey", "--prompt", "a garden", "--accept-license", "mild") == 0
    assert np.asarray(Image.open("out/01_panorama/mask.png")).all()
    stage = json.loads(Path("out/run.json").read_text())["stages"][0]
    assert (stage["method"], stage["fov_source"]) == ("grey", "none") and not grey[0].placed.mask.any()


def test_a_panorama_made_elsewhere(folder):
    assert panorama("panorama.png", "--method", "file") == 0
    same = [np.asarray(Image.open(p)) for p in ("panorama.png", "out/01_panorama/panorama.png")]
    assert (same[0] == same[1]).all() and not np.asarray(Image.open("out/01_panorama/mask.png")).any()


def test_a_field_of_view_that_contradicts_exif_is_told(folder, caplog):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26  # FocalLengthIn35mmFilm
    Image.open("photo.png").save("noted.jpg", exif=exif)
    noted_deg = math.degrees(2 * math.atan(math.hypot(36, 24) * 128 / math.hypot(128, 80) / 2 / 26))
    assert panorama("noted.jpg", "--fov-deg", "70") == 0 and not caplog.records
    assert panorama("noted.jpg", "--fov-deg", "30") == 0
    assert f"--fov-deg 30 contradicts the {noted_deg:.0f} degrees of the photo's EXIF" in caplog.text


def test_a_frame_around_the_photo_is_told_and_recorded(folder, caplog):
    image = np.pad(np.asarray(Image.open("photo.png")), ((6, 6), (6, 6), (0, 0)), constant_values=255)
    Image.fromarray(image).save("framed.png")
    assert panorama("framed.png", "--fov-deg", "70") == 0
    assert "the photo has a frame of one colour (top, bottom, left, right): cut it off" in caplog.text
    (said,) = json.loads(Path("out/run.json").read_text())["stages"][0]["warnings"]
    assert said in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photo.png", "--method", "magic"], "method must be one of baseline, .*got 'magic'"),
        (["photo.png", "--prompt", "a garden"], "method small reads no prompt"),
        (["--prompt", "a garden"], "method small reads no prompt"),
        ([], "panorama needs a PHOTO"),
        (["photo.png", "--pitch-deg", "91"], r"--pitch-deg must lie in \[-90, 90\] degrees, got 91"),
        (["photo.png", "--roll-deg", "nan"], "--roll-deg must be a finite number or null, got nan"),
        (["photo.png", "--method", "baseline", "--weights", "x"], "baseline has no option 'weights'; it knows none"),
        (["photo.png", "--method", "file"], "twice as wide as high"),
        (["strip.png"], "at most 4 times as long as wide, got 400 x 80"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_is_one_sentence(folder, capsys, words, message):
    Image.new("RGB", (400, 80)).save("strip.png")
    assert panorama(*words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    assert re.search(message, error), error
    assert not (folder / "out").exists()


def test_the_list_names_every_method(capsys):
    assert main(["models", "list"]) == 0
    said = capsys.readouterr().out
    for row in METHODS.values():
        assert f"\n{row.name}\n  {row.summary}; weights: {row.weights}\n  licence: {row.licence}\n" in said
