"""Judging panoramas and the methods that make them: the true one wins, a smear loses, the command writes the table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

from onescene.cli import main
from onescene.cli.app import app
from onescene.io import load_panorama, save_image
from onescene.models.loading import imagenet_weights_path
from onescene.pipeline import panorama_evaluation as judge
from onescene.pipeline.evaluation import MapSamples
from onescene.stages.panorama import PanoramaConfig

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CONFIG = judge.PanoramaEvaluation(height_px=64, photo_hw=(66, 88))


@pytest.fixture(scope="module")
def small() -> torch.Tensor:
    return load_panorama(EXAMPLES / "interior.png", max_height_px=64)


def test_a_smear_is_judged_worse_than_the_photograph() -> None:
    panorama = load_panorama(EXAMPLES / "forest.png", max_height_px=256)
    smear = F.interpolate(F.avg_pool2d(panorama[None], 8), scale_factor=8.0, mode="bicubic")[0].clamp(0, 1)
    assert judge.measure_panorama(smear)["niqe_faces"] > judge.measure_panorama(panorama)["niqe_faces"] + 2


def test_a_panorama_without_texture_is_still_measured() -> None:
    numbers = judge.measure_panorama(torch.zeros(3, 64, 128))
    assert "niqe_faces" not in numbers and "seam_energy_180" in numbers


def test_a_sheet_holds_the_first_panoramas(
    small: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "SHEET_ROWS", 2)
    album = judge.Album(tmp_path / "look")
    for name in "abc":
        for label in (judge.TRUE, judge.TURNED, "baseline"):
            album.add(name, label, small)
    album.write_sheet()
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))[-1] == "look/c/true.png"
    assert {name: list(row) for name, row in album.small.items()} == {n: [judge.TRUE, "baseline"] for n in "ab"}
    sheet = Image.open(tmp_path / "look" / "sheet.jpg")
    assert sheet.width > 1.4 * sheet.height > 0  # two rows of two
    judge.Album(None).write_sheet()


def test_methods_stand_beside_the_truth(small: torch.Tensor) -> None:
    _needs_imagenet()
    seen = []
    rows, frechet = judge.evaluate_methods([("room", small)], {"baseline": PanoramaConfig()}, CONFIG, seen.append)
    assert [row["method"] for row in rows] == [judge.TRUE, judge.TURNED, "baseline"]
    assert seen == rows
    true, turned, made = rows
    assert turned["seam_energy_zenith"] == pytest.approx(true["seam_energy_zenith"])
    assert made["colour_detail_ratio"] < true["colour_detail_ratio"]
    assert made["photo_psnr_db"] > 25  # of 64 rows
    assert made["diversity_std"] > 0
    assert 0 < frechet[judge.TURNED] < frechet["baseline"]


def test_what_is_missing_is_said(small: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no panorama"):
        judge.panorama_files(tmp_path)
    with pytest.raises(ValueError, match="at least one method"):
        judge.evaluate_methods([("room", small)], {}, CONFIG)
    _needs_imagenet()
    with pytest.raises(ValueError, match="no panorama"):
        judge.evaluate_methods([], {"baseline": PanoramaConfig()}, CONFIG)


def test_a_picture_is_named_by_its_method_even_with_a_path_in_it(small: torch.Tensor, tmp_path: Path) -> None:
    """Weights of one's own are named by where they lie, which is no folder of the pictures."""
    album = judge.Album(tmp_path / "seen")
    album.add("room", "small:weights=runs/mine/outpainter.safetensors:upper=0", small)
    (made,) = (tmp_path / "seen" / "room").iterdir()
    assert made.name == "small,weights=runs-mine-outpainter.safetensors,upper=0.png"
    album.write_sheet()
    assert (tmp_path / "seen" / "sheet.jpg").is_file()


def test_the_command(small: torch.Tensor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save_image(small, tmp_path / "in" / "room.png")
    alone = CliRunner().invoke(app, ["evaluate", "panorama", str(tmp_path / "in" / "room.png")])
    assert json.loads(alone.stdout)["room"].keys() == judge.measure_panorama(small).keys()
    _needs_imagenet()
    method = "anchored:heuristic=ad-hoc"
    words = ["--methods", method, "--height", "64", "--seeds", "1", "--out", str(tmp_path / "table.csv")]
    words += ["--pictures", str(tmp_path / "seen")]
    done = CliRunner().invoke(app, ["evaluate", "panorama", str(tmp_path / "in"), *words])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["mean"][method][judge.FRECHET] > 0
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table["panorama"]) == ["room"] * 3 + ["mean"] * 3
    assert table[judge.FRECHET].iloc[-1] > 0
    assert Image.open(tmp_path / "seen" / "sheet.jpg").width > 900
    pictures = {p.name: load_panorama(p) for p in (tmp_path / "seen" / "room").iterdir()}
    assert set(pictures) == {"true.png", "anchored,heuristic=ad-hoc.png"}
    assert torch.equal(pictures["true.png"], load_panorama(tmp_path / "in" / "room.png"))
    assert pictures["anchored,heuristic=ad-hoc.png"].shape == small.shape
    for words, named in ((["--methods", "baselime"], "baselime"), (["--pictures", "seen"], "name some with --methods")):
        wrong = CliRunner().invoke(app, ["evaluate", "panorama", str(tmp_path / "in"), *words])
        assert isinstance(wrong.exception, ValueError)
        assert named in str(wrong.exception)


def test_packed_panoramas_are_judged_too(tmp_path: Path) -> None:
    """What ``onescene data`` made, by its folder; a split that is not there, and one of pictures, are refused."""
    room = tmp_path / "rooms"
    assert main(["data", "rooms", "--out", str(room), "--count", "3", "--height", "64"]) == 0
    named = dict(judge.read_truths(room, 64, every=2))
    packed = [s.rgb for s in MapSamples(room)]
    assert len(named) == 2 and all(torch.equal(a, packed[2 * i]) for i, a in enumerate(named.values()))
    told = CliRunner().invoke(app, ["evaluate", "panorama", str(room), "--every", "2"])
    assert set(json.loads(told.stdout)) == set(named)
    save_image(packed[0], tmp_path / "room.png")
    for words, named in (
        ([str(room), "--split", "heldout"], "no panorama to evaluate in"),
        ([str(room), "--every", "0"], "every must be >= 1, got 0"),
        ([str(tmp_path / "room.png"), "--split", "heldout"], "are of packed panoramas"),
    ):
        wrong = CliRunner().invoke(app, ["evaluate", "panorama", *words])
        assert isinstance(wrong.exception, ValueError) and named in str(wrong.exception)


def _needs_imagenet() -> None:
    try:
        imagenet_weights_path()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
