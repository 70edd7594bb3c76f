"""``onescene run --preset paper``: every network is an official one from a folder, here in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_cli import make_photo
from test_one2scene import TINY as ONE2SCENE_TINY
from tiny_flux import HEIGHT_PX, make_weights
from view_models import official_folder

from onescene.cli import main
from onescene.models.one2scene import One2Scene
from onescene.models.one2scene.weights import one2scene_bytes
from onescene.pipeline.notebooks import open_notebook
from onescene.pipeline.official import SIZES
from onescene.pipeline.settings import settings_from

pytest.importorskip("diffusers", reason="pip install 'onescene[paper]'")
pytest.importorskip("transformers", reason="pip install 'onescene[paper]'")
LICENCES = ("tencent-hunyuanworld-1.0", "flux-1-dev-non-commercial")
TINY = {
    **{"panorama_height": 64, "face_px": 32, "frames": 3, "view_hw": [32, 48], "view_steps": 1, "trajectory": ["walk"]},
    **{"refine_steps": 2, "refine_views": 2, "fps": 4, "panorama_options": {"height_px": HEIGHT_PX, "steps": 1}},
}


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """A folder as its user would fill it."""
    folder = make_weights(tmp_path_factory.mktemp("official"))
    torch.manual_seed(0)
    (folder / "scaffold.safetensors").write_bytes(one2scene_bytes(One2Scene(ONE2SCENE_TINY), {"licence": "mine"}))
    official_folder(folder / "views", rank=2)
    return folder


def test_a_photo_becomes_a_scene_by_the_official_networks(official, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    photo, params, out = make_photo(tmp_path / "photo.png"), tmp_path / "tiny.yaml", tmp_path / "out"
    params.write_text(json.dumps(TINY))
    words = ["run", str(photo), "--out", str(out), "--preset", "paper", "--weights", str(official)]
    words += ["--params", str(params), "--fov-deg", "70"]
    assert main(words) == 2 and "asks to accept tencent-hunyuanworld-1.0" in capsys.readouterr().err
    assert main([*words, *(w for name in LICENCES for w in ("--accept-license", name))]) == 0
    record = json.loads((out / "run.json").read_text())
    methods = {stage["name"]: stage.get("method") for stage in record["stages"]}
    assert methods["01_panorama"] == "hunyuan" and methods["04_views"] == "dual-lora"
    names = {weights["name"] for weights in record["weights"]}
    assert {"views-denoiser", "views-autoencoder", "views-image_encoder"} <= names
    files = {weights["file"] for weights in record["weights"]}
    assert {"scaffold.safetensors", "lora.safetensors"} <= files
    assert (out / "scene.html").is_file() and len(list((out / "04_views").glob("*.png"))) == 3


def test_the_papers_sizes_and_what_the_user_says_over_them(official, tmp_path):
    settings = settings_from("paper", weights=official)
    assert all(getattr(settings, name) == value for name, value in SIZES.items())
    assert settings.scaffold_weights == str(official / "scaffold.safetensors")
    assert settings.panorama_options == {"weights": str(official)}
    params = tmp_path / "mine.yaml"
    params.write_text(json.dumps({"panorama_options": {"steps": 7}, "frames": 21, "method": "concat"}))
    mine = settings_from("paper", params, official, frames=5)
    assert mine.panorama_options == {"weights": str(official), "steps": 7}
    assert (mine.frames, mine.method) == (5, "concat")
    assert settings_from("paper", weights=official, panorama_method="baseline").panorama_options == {}


def test_weights_may_lie_anywhere(official, tmp_path):
    params = tmp_path / "mine.yaml"
    places = {"scaffold_weights": str(official / "scaffold.safetensors"), "view_weights": str(official / "views")}
    params.write_text(json.dumps(places))
    assert settings_from("paper", params).scaffold_weights == places["scaffold_weights"]
    params.write_text(json.dumps({"view_weights": places["view_weights"]}))
    with pytest.raises(ValueError, match="--preset paper needs weights in a folder that --weights names"):
        settings_from("paper", params)


def test_a_notebook_opens_with_the_folder_or_with_a_scaffold_alone(official, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    run = open_notebook("results/x", networks="paper", weights=official)
    assert run.settings.view_weights == str(official / "views")
    alone = open_notebook("results/x", networks="small", weights=official / "scaffold.safetensors")
    assert alone.settings.scaffold_weights == run.settings.scaffold_weights == str(official / "scaffold.safetensors")
    assert open_notebook("results/x", networks="small").settings.scaffold_weights is None
    with pytest.raises(ValueError, match="--preset paper needs weights"):
        open_notebook("results/x", networks="paper")
