"""The command line end to end at a tiny size: the main job, what resumes, and one sentence for every mistake."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from onescene.cli import main
from onescene.cli.entry import explain
from onescene.io import load_cameras, save_cameras
from onescene.pipeline.job import STEPS
from onescene.pipeline.workspace import open_workspace

TINY = {
    **{"panorama_height": 128, "face_px": 48, "turns": 1, "frames": 4, "view_hw": [72, 96], "fps": 4},
    **{"refine_steps": 3, "refine_views": 2},
}


def make_photo(path: Path, hw: tuple[int, int] = (96, 128), shift: int = 0) -> Path:
    """A smooth picture with an edge in it."""
    y, x = np.mgrid[: hw[0], : hw[1]]
    rgb = np.stack((x * 255 // hw[1], y * 255 // hw[0], np.where(x > hw[1] // 2 + shift, 200, 60)), axis=-1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    return path


def files_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def states(text: str) -> dict[str, str]:
    """What a run said of each step."""
    found = re.findall(r"\[\d/\d\] (\S+): (up to date|done)", text)
    return {name: "skipped" if said == "up to date" else "ran" for name, said in found}


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory) -> Path:
    """A finished run, in a path with a space and a letter that is not ASCII; tests copy it."""
    folder = tmp_path_factory.mktemp("main job") / "eine Küche"
    make_photo(folder / "mein Foto.png")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert main(["run", str(folder / "mein Foto.png"), "--out", str(folder / "out"), *options(folder)]) == 0
    return folder


def options(folder: Path) -> list[str]:
    return ["--params", str(folder / "tiny.yaml"), "--fov-deg", "80"]


@pytest.fixture
def copy(tiny_run, tmp_path) -> Path:
    """The finished run, to damage."""
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


def run_again(folder: Path, capsys, *more: str, photo: str = "mein Foto.png", code: int = 0) -> dict[str, str]:
    """Runs once more; returns what became of each step."""
    capsys.readouterr()
    assert main(["run", str(folder / photo), "--out", str(folder / "out"), *options(folder), *more]) == code
    return states(capsys.readouterr().err)


# --- the main job ----------------------------------------------------------------------------------------------------


def test_the_main_job_writes_what_the_contract_says(tiny_run):
    out = tiny_run / "out"
    wanted = {"01_panorama/panorama.png", "01_panorama/mask.png", *(f"02_anchors/{f}.png" for f in "FRBLUD")}
    wanted |= {f"03_scaffold/{n}" for n in ("gaussians.ply", "distance.npy", "distance.png")}
    wanted |= {f"04_views/{n}" for n in ("000.png", "003.png", "transforms.json", "flythrough.mp4")}
    wanted |= {"05_scene/gaussians.ply", "scene.html", "flythrough.mp4", "overview.png", "run.json"}
    assert wanted <= files_below(out)
    assert not [name for name in files_below(out) if "partial" in name]
    assert Image.open(out / "01_panorama" / "panorama.png").size == (256, 128)
    assert set(np.unique(np.asarray(Image.open(out / "01_panorama" / "mask.png")))) == {0, 255}
    distance = np.load(out / "03_scaffold" / "distance.npy")
    assert distance.shape == (128, 256) and distance.dtype == np.float32
    assert np.isfinite(distance).all() and (distance > 0).all()
    frames = json.loads((out / "04_views" / "transforms.json").read_text())["frames"]
    assert [f["file_path"] for f in frames] == [f"{v:03d}.png" for v in range(4)]
    assert (out / "flythrough.mp4").read_bytes()[4:8] == b"ftyp"


def test_run_json_says_what_made_the_result(tiny_run):
    run = json.loads((tiny_run / "out" / "run.json").read_text())
    assert run["command"].startswith("onescene run ") and "mein Foto.png" in run["command"]
    assert run["parameters"]["fov_deg"] == 80 and run["parameters"]["frames"] == 4 and run["seed"] == 0
    assert {"python", "torch", "onescene"} <= set(run["versions"]) and "commit" in run
    assert run["inputs"]["photo"]["file"] == "mein Foto.png" and len(run["inputs"]["photo"]["sha256"]) == 64
    networks = ["outpainter-small", "scaffold-small", *["views-denoiser"] * 2, "views-autoencoder"]
    assert [w["name"] for w in run["weights"]] == networks
    assert all(len(w["sha256"]) == 64 and w["licence"] == "Apache-2.0" for w in run["weights"])
    assert [s["name"] for s in run["stages"]] == list(STEPS)
    assert all(s["seconds"] > 0 and s["peak_memory_mb"] > 50 for s in run["stages"])
    methods = {s["name"]: s.get("method") for s in run["stages"]}
    assert (methods["01_panorama"], methods["04_views"]) == ("small", "dual-lora")


def test_a_second_run_makes_nothing_and_touches_nothing(copy, capsys):
    kept = {
        p: p.stat().st_mtime_ns for p in (copy / "out").rglob("*") if p.is_file() and p.name not in ("lock", "run.json")
    }
    assert set(run_again(copy, capsys).values()) == {"skipped"}
    assert kept == {p: p.stat().st_mtime_ns for p in kept}


@pytest.mark.parametrize(
    ("more", "ran"),
    [
        (["--frames", "3"], STEPS[3:]),
        (["--trajectory", "look-around"], STEPS[3:]),
        (["--fov-deg", "60"], STEPS),
        (["--fresh"], STEPS),
    ],
    ids=" ".join,
)
def test_a_changed_flag_makes_again_what_depends_on_it(copy, capsys, more, ran):
    (copy / "out" / "04_views" / "notes.txt").write_text("mine")
    found = run_again(copy, capsys, *more)
    assert {n for n, s in found.items() if s == "ran"} == set(ran)
    pictures = {n for n in files_below(copy / "out" / "04_views") if n.endswith(".png")}
    assert pictures == {f"{v:03d}.png" for v in range(3 if "--frames" in more else 4)}
    assert (copy / "out" / "04_views" / "notes.txt").read_text() == "mine"


def test_a_changed_photo_makes_all_again_and_a_renamed_one_nothing(copy, capsys):
    (copy / "mein Foto.png").rename(copy / "other.png")
    assert set(run_again(copy, capsys, photo="other.png").values()) == {"skipped"}
    make_photo(copy / "other.png", shift=9)
    assert set(run_again(copy, capsys, photo="other.png").values()) == {"ran"}


def test_what_was_deleted_or_damaged_is_made_again(copy, capsys):
    out = copy / "out"
    before = {
        name: (out / name).read_bytes() for name in ("02_anchors/B.png", "03_scaffold/distance.npy", "scene.html")
    }
    (out / "02_anchors" / "B.png").unlink()
    (out / "03_scaffold" / "distance.npy").write_bytes(b"damaged")
    (out / "scene.html").write_bytes(before["scene.html"][:-1])
    found = run_again(copy, capsys)
    assert {n for n, s in found.items() if s == "ran"} == {"02_anchors", "03_scaffold", "scene.html"}
    assert {name: (out / name).read_bytes() for name in before} == before


def test_a_panorama_to_begin_with(copy, capsys, tmp_path):
    panorama = copy / "out" / "01_panorama" / "panorama.png"
    arguments = ["--panorama", str(panorama), "--out", str(tmp_path / "given"), *options(copy), "--frames", "2"]
    assert main(["run", *arguments]) == 0
    out = tmp_path / "given"
    same = [np.asarray(Image.open(p)) for p in (panorama, out / "01_panorama" / "panorama.png")]
    assert (same[0] == same[1]).all()
    assert not np.asarray(Image.open(out / "01_panorama" / "mask.png")).any()
    stages = json.loads((out / "run.json").read_text())["stages"]
    assert stages[0]["method"] == "file"


# --- its parts -------------------------------------------------------------------------------------------------------


def test_the_parts_give_what_the_whole_gives(copy, capsys, tmp_path):
    whole, out = copy / "out", tmp_path / "parts"
    params = ["--params", str(copy / "tiny.yaml")]
    assert main(["panorama", str(copy / "mein Foto.png"), "--out", str(out), "--fov-deg", "80", *params]) == 0
    assert main(["scaffold", str(out / "01_panorama" / "panorama.png"), "--out", str(out), *params]) == 0
    assert main(["views", str(out), "--trajectory", "walk", "--frames", "4", *params]) == 0
    assert main(["refine", str(out), *params]) == 0
    for name in ("01_panorama/panorama.png", "02_anchors/U.png", "03_scaffold/gaussians.ply", "04_views/002.png"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    shutil.copy(copy / "mein Foto.png", tmp_path)
    found = run_again(copy, capsys)  # the whole is untouched
    assert set(found.values()) == {"skipped"}
    assert main(["run", str(tmp_path / "mein Foto.png"), "--out", str(out), *options(copy)]) == 0
    assert {n for n, s in states(capsys.readouterr().err).items() if s == "ran"} == set(STEPS[5:])


def test_views_from_given_cameras(copy, capsys):
    cameras = copy / "gaussians.json"  # as another input of the step is called
    content = json.loads((copy / "out" / "04_views" / "transforms.json").read_text())
    content["frames"] = content["frames"][:2]
    cameras.write_text(json.dumps(content))
    params = ["--params", str(copy / "tiny.yaml")]
    assert main(["views", str(copy / "out"), "--cameras", str(cameras), *params]) == 0
    assert {n for n in files_below(copy / "out" / "04_views") if n.endswith(".png")} == {"000.png", "001.png"}
    assert main(["refine", str(copy / "out"), *params]) == 0
    other = make_photo(copy / "p.png", (64, 128))
    assert main(["scaffold", str(other), "--out", str(copy / "out"), *params]) == 0
    capsys.readouterr()
    assert main(["refine", str(copy / "out"), *params]) == 2
    assert "show another scaffold" in capsys.readouterr().err


def test_views_from_a_colmap_folder(copy, capsys):
    out, params = copy / "out", ["--params", str(copy / "tiny.yaml")]
    seen = load_cameras(out / "04_views" / "transforms.json")[[0, 1]]
    save_cameras(seen, copy / "model")
    words = ["views", str(out), "--cameras", str(copy / "model"), *params]
    assert main(words) == 0
    again = load_cameras(out / "04_views" / "transforms.json")
    torch.testing.assert_close(again.world_from_cam, seen.world_from_cam, atol=1e-5, rtol=0)
    capsys.readouterr()
    assert main(words) == 0 and set(states(capsys.readouterr().err).values()) == {"skipped"}
    (copy / "empty").mkdir()
    refused(capsys, "no COLMAP model", ["views", str(out), "--cameras", str(copy / "empty"), *params])


def test_poses_of_a_plain_tum_file(copy, capsys):
    """A trajectory as other programs write it, without intrinsics."""
    path, ply = copy / "path.txt", copy / "out" / "05_scene" / "gaussians.ply"
    path.write_text("0 0 0 0 0 0 0 1\n1 0.1 0 0 0 0 0 1\n")
    capsys.readouterr()
    assert main(["evaluate", "poses", str(path), str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["trans_err_mean_first"] == 0
    refused(capsys, "add the lines", ["render", str(ply), "--cameras", str(path), "--out", str(copy / "x")])


def test_the_photo_is_not_written_over(copy, capsys):
    out = copy / "mine"
    photo = make_photo(out / "01_panorama" / "panorama.png")
    before = photo.read_bytes()
    for more in (["panorama", str(photo)], ["run", str(photo)], ["run", "--panorama", str(photo)]):
        refused(capsys, "would be written over by this run", [*more, "--out", str(out)])
    assert photo.read_bytes() == before
    whole, params = copy / "out", ["--params", str(copy / "tiny.yaml")]
    for name in ("04_views/000.png", "overview.png", "02_anchors/F.png", "01_panorama/panorama.png"):
        before = (whole / name).read_bytes()
        refused(capsys, "would be written over by this run", ["run", str(whole / name), "--out", str(whole), *params])
        assert (whole / name).read_bytes() == before


def test_a_run_goes_on_from_its_own_panorama(copy, capsys):
    """Made by `panorama`, looked at, then given to `run`: it is taken as it is."""
    out, params = copy / "other", ["--params", str(copy / "tiny.yaml")]
    assert main(["panorama", str(copy / "mein Foto.png"), "--out", str(out), "--fov-deg", "80", *params]) == 0
    panorama = out / "01_panorama" / "panorama.png"
    before = panorama.read_bytes()
    assert main(["run", "--panorama", str(panorama), "--out", str(out), *params]) == 0
    assert panorama.read_bytes() == before


def test_nothing_is_written_among_what_the_steps_made(copy, capsys):
    out = copy / "out"
    before = {name: (out / name).read_bytes() for name in files_below(out) if not name.endswith("lock")}
    ply, cameras = str(out / "05_scene" / "gaussians.ply"), str(out / "04_views" / "transforms.json")
    words = "lies where a run keeps what it made"
    refused(capsys, words, ["export", str(out), "--format", "ply", "--out", ply])
    refused(capsys, words, ["render", ply, "--cameras", cameras, "--out", str(out / "04_views")])
    assert before == {name: (out / name).read_bytes() for name in files_below(out) if not name.endswith("lock")}


def test_a_view_of_another_size_is_named(copy, capsys):
    make_photo(copy / "out" / "04_views" / "000.png", (80, 100))
    words = "view 000.png must have the size of its camera, 96 x 72, got 100 x 80"
    assert main(["refine", str(copy / "out"), "--params", str(copy / "tiny.yaml")]) == 2
    assert words in capsys.readouterr().err


def test_a_table_is_asked_for_where_it_can_be_written(tmp_path, capsys):
    assert main(["data", "rooms", "--out", str(tmp_path / "rooms"), "--count", "1", "--height", "64"]) == 0
    for command in ("scaffold", "panorama", "views"):
        words = ["evaluate", command, *(["--data"] if command != "panorama" else []), str(tmp_path / "rooms")]
        refused(capsys, "--out must be a CSV file", [*words, "--out", str(tmp_path)])
        refused(capsys, "the folder of .* does not exist", [*words, "--out", str(tmp_path / "none" / "x.csv")])
    (file,) = (tmp_path / "rooms").glob("*.npz")
    file.write_bytes(file.read_bytes()[:500])
    refused(
        capsys, "must be a packed map, but it is damaged", ["evaluate", "scaffold", "--data", str(tmp_path / "rooms")]
    )


def test_broken_views_are_named(copy, capsys):
    (copy / "out" / "04_views" / "transforms.json").write_text("{")
    refused(capsys, "transforms.json", ["refine", str(copy / "out"), "--params", str(copy / "tiny.yaml")])


@pytest.mark.parametrize("error", [RuntimeError("[enforce fail] DefaultCPUAllocator: not enough"), MemoryError()])
def test_too_little_memory_is_told(error):
    code, sentence = explain(error)
    assert code == 1 and sentence == "out of memory; a smaller photo or smaller settings need less"


@pytest.mark.parametrize("format", ["ply", "spz", "splat", "sog", "glb", "html"])
def test_export(copy, format):
    assert main(["export", str(copy / "out"), "--format", format]) == 0
    assert (copy / "out" / f"scene.{format}").stat().st_size > 10_000


def test_render_and_evaluate(copy, capsys, tmp_path):
    out, renders = copy / "out", tmp_path / "renders"
    cameras = str(out / "04_views" / "transforms.json")
    assert main(["render", str(out / "05_scene" / "gaussians.ply"), "--cameras", cameras, "--out", str(renders)]) == 0
    assert files_below(renders) == {f"{v:03d}.png" for v in range(4)}
    shutil.copytree(out / "04_views", tmp_path / "views")
    capsys.readouterr()
    assert main(["evaluate", "images", str(renders), str(tmp_path / "views")]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["images"]) == files_below(renders) and 15 < shown["mean"]["psnr_db"] <= 100
    assert main(["evaluate", "poses", cameras, cameras, "--align", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["rot_err_rad_mean_none"] == 0
    distance = str(out / "03_scaffold" / "distance.npy")
    np.save(tmp_path / "double.npy", 2 * np.load(distance))
    assert main(["evaluate", "depth", str(tmp_path / "double.npy"), distance]) == 0
    assert json.loads(capsys.readouterr().out)["abs_rel_median"] == pytest.approx(0, abs=1e-6)
    assert main(["evaluate", "depth", str(tmp_path / "double.npy"), distance, "--align", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["abs_rel_none"] == pytest.approx(1, abs=1e-6)


def test_rooms_as_data(tmp_path, capsys):
    assert main(["data", "rooms", "--out", str(tmp_path / "rooms"), "--count", "2", "--height", "32"]) == 0
    (file,) = (tmp_path / "rooms").glob("*.npz")
    with np.load(file) as stored:
        assert stored["rgb"].shape == (2, 32, 64, 3)


# --- mistakes --------------------------------------------------------------------------------------------------------


def refused(capsys, words: str, arguments: list[str]) -> None:
    """The call ends with 2 and one sentence that says the words, without a traceback."""
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search(words, error), error
    assert error.startswith("onescene: ") and error.count("\n") == 1 and "Traceback" not in error


@pytest.fixture
def bad(tmp_path) -> Path:
    """A folder of files that are no photo or no panorama."""
    folder = tmp_path / "bad"
    good = make_photo(folder / "good.jpg")
    (folder / "empty.png").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "text.png").write_text("not a picture\n")
    make_photo(folder / "small.png", (40, 63))
    make_photo(folder / "square.png", (128, 128))
    (folder / "folder.png").mkdir()
    np.save(folder / "complex.npy", np.ones((4, 8), complex))
    (folder / "typo.yaml").write_text("face_pix: 48\n")
    (folder / "null.yaml").write_text("scaffold_gaussians: null\nface_px: null\n")  # the first may be, the second not
    (folder / "zero.yaml").write_text("scaffold_gaussians: 0\n")
    return folder


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("none.jpg", "none.jpg"),
        ("folder.png", "folder.png"),
        ("empty.png", "empty.png"),
        ("truncated.jpg", "truncated.jpg"),
        ("text.png", "text.png"),
        ("small.png", "64"),
    ],
)
@pytest.mark.parametrize("command", ["run", "panorama"])
def test_a_photo_that_is_none_is_refused(bad, tmp_path, capsys, command, file, words):
    refused(capsys, words, [command, str(bad / file), "--out", str(tmp_path / "out" / "deep")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["none.jpg", "folder.png", "empty.png", "text.png", "square.png", "truncated.jpg"])
@pytest.mark.parametrize("command", [["scaffold"], ["run", "--panorama"]], ids=" ".join)
def test_a_panorama_that_is_none_is_refused(bad, tmp_path, capsys, command, file):
    words = "2:1|twice" if file == "square.png" else re.escape(file)
    refused(capsys, words, [*command, str(bad / file), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--fov-deg", "10"], r"--fov-deg must lie in \(10, 170\), got 10"),
        (["--fov-deg", "170"], r"--fov-deg must lie in \(10, 170\), got 170"),
        (["--fov-deg", "nan"], "--fov-deg"),
        (["--fov-deg", "wide"], "--fov-deg"),
        (["--frames", "0"], "--frames must be >= 1, got 0"),
        (["--seed", "-1"], "--seed must be >= 0, got -1"),
        (["--seed", "4294967296"], "--seed must be <= 4294967295, got 4294967296"),
        (["--trajectory", "moonwalk"], "trajectory must be one of walk, .*, got 'moonwalk'"),
        (["--trajectory", "walk,,fly"], "got 'fly'"),
        (["--trajectory", ","], "--trajectory must name at least one"),
        (["--preset", "huge"], "--preset must be one of small, paper, got 'huge'"),
        (["--preset", "paper"], "--preset paper needs weights .* GB .*licence: .*use --preset small"),
        (["--preset", "paper", "--weights", "none"], "no such folder: none; --preset paper needs weights there"),
        (["--preset", "paper", "--weights", "."], r"\. holds no one2scene_scaffold.ckpt or .* \(VGGT-1B: .*licence"),
        (["--weights", "."], "--weights is for --preset paper"),
        (["--params", "typo.yaml"], "typo.yaml: unknown key 'face_pix'; did you mean face_px"),
        (["--params", "null.yaml"], "null.yaml: face_px must be a whole number, got null"),
        (["--params", "zero.yaml"], "scaffold_gaussians must be >= 1, got 0"),
        (["--params", "none.yaml"], "params file not found"),
        (["--panorama", "none.png"], "no such file: none.png"),
        (["--zzz"], "--zzz"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_flag_is_refused(bad, capsys, monkeypatch, more, words):
    monkeypatch.chdir(bad)
    refused(capsys, words, ["run", "good.jpg", "--out", "out", *more])
    assert not (bad / "out").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("radius_world: .nan", "radius_world must be a finite number, got nan"),
        ("radius_world: -1", "radius_world must be >= 0, got -1"),
        ("anchor_fov_deg: .inf", "anchor_fov_deg must be a finite number, got inf"),
        ("anchor_fov_deg: 80", "anchor_fov_deg must be >= 90, got 80"),  # six such faces see less than the sphere
        ("view_steps: .nan", "view_steps must be a whole number or null, got nan"),
        ("view_steps: 2", "these weights make a view in one step"),
        ("view_steps: [1]", r"view_steps must be a whole number or null, got \[1\]"),
        ("view_weights: 5", "view_weights must be text or null, got 5"),
        ("view_hw: [a, b]", r"view_hw must be a list of 2, each a whole number, got \['a', 'b'\]"),
        ("view_hw: [64]", r"view_hw must be a list of 2, each a whole number, got \[64\]"),
        ("view_hw: [1000000, 64]", "view_hw must be two even sizes from 16 to 8192"),
        ("trajectory: [1]", "trajectory must be a list, each text, got"),
        ('fov_deg: "75"', "fov_deg must be a finite number or null, got '75'"),
        ("fov_deg: 2020-01-01", "fov_deg must be a finite number or null"),
        ("pitch_deg: [1]", "pitch_deg must be a finite number or null"),
        ("seed: 99999999999999999999", "--seed must be <= 4294967295"),
        ("fps: 500", "fps must be <= 240, got 500"),
        ("face_px: 100000", "face_px must be <= 4096, got 100000"),
        ("panorama_height: 129", "panorama_height must be even, got 129"),
        ("panorama_height: 100000000", "panorama_height must be <= 8192"),
        ("scaffold_weights: [a]", "scaffold_weights must be text or null"),
        ("[" * 3000, "params file is not YAML"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_made(bad, capsys, monkeypatch, line, words):
    monkeypatch.chdir(bad)
    (bad / "wrong.yaml").write_text(line)
    refused(capsys, words, ["run", "good.jpg", "--out", "out", "--params", "wrong.yaml"])
    assert not (bad / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "--out"),
        (["run", "--out", "x"], "needs a PHOTO"),
        (["run", "good.jpg", "--out", ""], "'--out': it must name a folder, got an empty text"),
        (["render", "none.ply", "--cameras", "c.json", "--out", " "], "'--out': it must name a folder"),
        (["export", "", "--format", "ply"], "'DIR': it must name a folder"),
        (["views", "none"], "no such folder: none"),
        (["views", "."], "no scaffold in ."),
        (["views", ".", "--cameras", "c.json", "--frames", "3"], "exclude each other"),
        (["refine", "."], "no novel views"),
        (["export", ".", "--format", "ply"], "no scene in"),
        (["export", ".", "--format", "obj"], "--format must be one of ply"),
        (["render", "none.ply", "--cameras", "c.json", "--out", "x"], "none.ply"),
        (["evaluate", "depth", "none.npy", "none.npy"], "no such file: none.npy"),
        (["evaluate", "depth", "good.jpg", "good.jpg"], "not a .npy file"),
        (["evaluate", "images", "none", "none"], "no such folder: none"),
        (["data", "rooms", "--out", "x", "--count", "0"], "count must be >= 1, got 0"),
        (["data", "rooms", "--out", "x", "--count", "1", "--height", "-4"], "height must be >= 16, got -4"),
        (
            ["data", "rooms", "--out", "x", "--count", "1", "--seed", "-1"],
            "'--seed': Input should be greater than or equal to 0",
        ),
        (
            ["data", "rooms", "--out", "x", "--count", "1", "--seed", str(10**30)],
            "'--seed': Input should be less than or equal to",
        ),
        (["evaluate", "panorama", ".", "--methods", "small:upper=[1"], "--methods: a value of .* is not YAML"),
        (["data", "maps", "--packs", ".", "--out", "x", "--height", "8"], "hw must be a height >= 16"),
        (["evaluate", "depth", "complex.npy", "complex.npy"], "complex.npy must hold real numbers of shape"),
        (["data", "maps", "--packs", "none", "--out", "x"], "none"),
        (["data", "maps", "--packs", ".", "--out", "x", "--split", "tst"], "split must be one of"),
        (["view", "."], r"nothing to show in \.: run `onescene run PHOTO"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_is_refused(bad, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(bad)
    before = files_below(bad)
    refused(capsys, words, arguments)
    assert files_below(bad) == before and not (bad / "x").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_in_a_camera_file_or_a_ply_is_refused(copy, capsys, value):
    out, cameras = copy / "out", copy / "cameras.json"
    content = json.loads((out / "04_views" / "transforms.json").read_text())
    content["frames"][1]["transform_matrix"][0][3] = value
    cameras.write_text(json.dumps(content))
    before = {name: (out / name).read_bytes() for name in files_below(out) if not name.endswith("lock")}
    params = ["--params", str(copy / "tiny.yaml")]
    refused(capsys, "finite|NaN|nan|inf", ["views", str(out), "--cameras", str(cameras), *params])
    ply = copy / "bad.ply"
    data = bytearray((out / "05_scene" / "gaussians.ply").read_bytes())
    start = data.index(b"end_header\n") + len(b"end_header\n")
    data[start : start + 4] = np.float32(value).tobytes()
    ply.write_bytes(data)
    good = str(out / "04_views" / "transforms.json")
    refused(capsys, "finite|NaN|nan|inf", ["render", str(ply), "--cameras", good, "--out", str(copy / "x")])
    assert not (copy / "x").exists()
    assert before == {name: (out / name).read_bytes() for name in files_below(out) if not name.endswith("lock")}


def test_an_out_that_cannot_be_a_folder_is_refused(bad, capsys):
    good = str(bad / "good.jpg")
    refused(capsys, "--out must be a folder, but .*text.png is a file", ["run", good, "--out", str(bad / "text.png")])
    refused(capsys, "--out must be a folder", ["run", good, "--out", str(bad / "text.png" / "below")])
    if Path("/proc/self").is_dir():
        refused(capsys, "--out cannot be written", ["run", good, "--out", "/proc/self/out"])
    (bad / "out").mkdir()
    (bad / "out" / "01_panorama").write_text("a file")
    refused(capsys, "01_panorama is a file", ["run", good, "--out", str(bad / "out")])


def test_a_folder_in_use_is_refused(copy, capsys):
    with open_workspace(copy / "out"):
        refused(capsys, "another run is writing into", ["run", str(copy / "mein Foto.png"), "--out", str(copy / "out")])


# --- failures that are not the caller's ------------------------------------------------------------------------------


def test_a_disk_that_fills_up(copy, capsys, monkeypatch):
    from onescene.io import atomic

    def flush(path, real=atomic._flush):
        if path.suffix == ".ply":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path)

    out = copy / "out"
    shutil.rmtree(out)
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_flush", flush)
        assert run_again(copy, capsys, code=1) == {"01_panorama": "ran", "02_anchors": "ran"}
    assert not (out / "03_scaffold").exists()
    assert not [name for name in files_below(out) if "partial" in name]
    found = run_again(copy, capsys)
    assert {n for n, s in found.items() if s == "skipped"} == {"01_panorama", "02_anchors"}


def test_our_failure_is_one_sentence_with_a_hint(copy, capsys, monkeypatch):
    from onescene.stages import panorama

    def broken(*_):
        raise KeyError("a bug\nof ours")

    monkeypatch.setattr(panorama, "run", broken)
    arguments = ["run", str(copy / "mein Foto.png"), "--out", str(copy / "new"), *options(copy)]
    capsys.readouterr()
    assert main(arguments) == 1
    error = capsys.readouterr().err.splitlines()
    assert "--debug" in error[-1] and "KeyError" in error[-1] and "Traceback" not in "".join(error)
    assert not (copy / "new").exists()
    assert main([*arguments, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_finished(copy, capsys, number):
    out = copy / "out"
    shutil.rmtree(out)
    command = [sys.executable, "-m", "onescene", "run", str(copy / "mein Foto.png"), "--out", str(out), *options(copy)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"ONESCENE_TYPECHECK": ""},
        # a test suite in the background hands down an ignored SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = ""
    for line in process.stderr:
        said += line
        if "03_scaffold" in line:
            process.send_signal(number)
            break
    said += process.stderr.read()
    assert process.wait(60) == 130, said
    assert "interrupted" in said and "Traceback" not in said
    assert not [name for name in files_below(out) if "partial" in name]
    found = run_again(copy, capsys)
    assert found["01_panorama"] == found["02_anchors"] == "skipped" and found["05_scene"] == "ran"


# --- the rest --------------------------------------------------------------------------------------------------------


def test_help_is_quick_and_imports_no_torch():
    code = "import sys, onescene.cli; onescene.cli.main(['--help']); sys.exit('torch' in sys.modules)"
    started = time.process_time(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "scaffold" in done.stdout and time.perf_counter() - started[1] < 10  # 0.3 s on an idle machine


def test_doctor_says_what_is_there_and_what_to_do(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[1]: line.split()[0] for line in lines if line[:1].strip() and len(line.split()) > 2}
    for name in ("python", "torch", "cuda", "numba", "gsplat", "torchvision", "ffmpeg", "weights", "memory", "disk"):
        assert name in found, name
    assert found["python"] == found["torch"] == found["weights"] == "ok"


def test_doctor_sees_weights_that_are_missing_or_not_the_shipped_ones(capsys, monkeypatch, tmp_path):
    from onescene.models import loading

    shipped = loading.shipped_scaffold_path()
    monkeypatch.setattr(loading, "WEIGHTS_DIR", tmp_path)
    assert main(["doctor"]) == 0
    assert re.search(r"wrong +weights +FileNotFoundError.*\n +-> put scaffold-small", capsys.readouterr().out)
    shutil.copy(shipped, tmp_path)
    (tmp_path / "scaffold-small.md").write_text("sha256 " + "0" * 64)
    assert main(["doctor"]) == 0
    assert "not the file that its model card names" in capsys.readouterr().out


def test_a_pipe_that_closes_early_is_no_traceback():
    command = f"{shlex.quote(sys.executable)} -m onescene doctor | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("ok") and "Traceback" not in done.stderr
