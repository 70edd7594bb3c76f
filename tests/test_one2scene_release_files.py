"""Files of the public networks: found by their keys, read without running anything, converted to safetensors."""

import dataclasses

import pytest
import torch
from golden_weights import fill
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_one2scene_release import TIED, TINY
from test_vggt import TINY as VGGT_TINY

from onescene.cli import main
from onescene.models import registry
from onescene.models.one2scene_release import KEY_PREFIX, ReleaseScaffold
from onescene.models.vggt import VGGT

SMALL = dataclasses.replace(VGGT_TINY, patch_embed="conv", depth=2, intermediate_layer_idx=(0, 0, 1, 1))


@pytest.fixture(autouse=True)
def tiny_architectures(monkeypatch):
    """The registry's networks at test sizes: the same classes, files of a few megabytes."""
    tiny = {
        "VGGT-1B": lambda: VGGT(dataclasses.replace(SMALL, point_head=True)),
        "one2scene-scaffold": lambda: ReleaseScaffold(TINY),
    }
    changed = [dataclasses.replace(a, build=tiny.get(a.name, a.build)) for a in registry.ARCHITECTURES]
    monkeypatch.setattr(registry, "ARCHITECTURES", tuple(changed))


def vggt_state() -> dict[str, torch.Tensor]:
    return VGGT(dataclasses.replace(SMALL, point_head=True)).state_dict()


@pytest.fixture(scope="module")
def release_state() -> dict[str, torch.Tensor]:
    return fill(ReleaseScaffold(TINY), TIED).state_dict()


def test_a_lightning_checkpoint_of_the_release(tmp_path, capsys, release_state):
    """With its prefix, its tied tensors and the rest of a training's state; converted to what the network loads."""
    state = {KEY_PREFIX + k: v for k, v in release_state.items()}
    torch.save({"state_dict": state, "epoch": 3, "optimizer_states": [{"lr": 1e-4}]}, tmp_path / "scaffold.ckpt")
    out = tmp_path / "scaffold.safetensors"
    assert main(["models", "check", str(tmp_path / "scaffold.ckpt"), "--convert", str(out)]) == 0
    said = capsys.readouterr().out
    assert "nearest model: one2scene-scaffold; licence: none stated" in said
    assert "behind the prefix encoder." in said and "every key and shape fits" in said
    with safe_open(out, framework="pt") as file:
        assert file.metadata()["model"] == "one2scene-scaffold"
        assert file.metadata()["source_sha256"] in said
    converted = load_file(out)
    assert set(converted) == set(release_state)
    assert all(torch.equal(converted[k], release_state[k]) for k in converted)
    assert registry.check_file(out).report.fits


def test_the_track_head_is_known_and_never_read(tmp_path, capsys):
    state = vggt_state() | {"track_head.tracker.fmap_norm.weight": torch.ones(128)}
    torch.save(state, tmp_path / "model.pt")
    assert main(["models", "check", str(tmp_path / "model.pt"), "--convert", str(tmp_path / "m.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "nearest model: VGGT-1B; licence: non-commercial" in said
    assert "known and never read (1): track_head.tracker.fmap_norm.weight" in said
    assert set(load_file(tmp_path / "m.safetensors")) == set(vggt_state())


def test_weights_that_are_no_numbers_are_not_converted(tmp_path, capsys):
    state = vggt_state()
    state["depth_head.norm.bias"] = torch.full_like(state["depth_head.norm.bias"], torch.nan)
    torch.save(state, tmp_path / "model.pt")
    assert main(["models", "check", str(tmp_path / "model.pt"), "--convert", str(tmp_path / "m.safetensors")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "(tensors: 1, first depth_head.norm.bias): not converted" in said
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_every_key_that_does_not_fit_is_named(tmp_path, capsys, suffix):
    state = vggt_state()
    gone = ["aggregator.camera_token", "depth_head.norm.bias"]
    for key in gone:
        del state[key]
    state["camera_head.token_norm.bias"] = torch.zeros(7)
    state |= {f"depth_head.extra.{i}": torch.zeros(1) for i in range(30)}
    path = tmp_path / f"model.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"state_dict": state}, path)
    assert main(["models", "check", str(path), "--convert", str(tmp_path / "out.safetensors")]) == 2
    said = capsys.readouterr()
    assert f"missing (2): {', '.join(gone)}" in said.out
    assert "unexpected (30): depth_head.extra.0, " in said.out and "and 10 more" in said.out
    assert "wrong shape (1): camera_head.token_norm.bias: file (7,), network (128,)" in said.out
    assert said.err.count("\n") == 1 and "fit no model" in said.err
    assert not (tmp_path / "out.safetensors").exists()
    assert main(["models", "check", str(path), "--all"]) == 2
    assert "depth_head.extra.29" in capsys.readouterr().out


class Evil:
    """What a hostile pickle does when it is opened."""

    def __reduce__(self):
        return (print, ("ran",))


def test_pickled_code_is_refused_in_one_sentence(tmp_path, capsys):
    torch.save({"state_dict": vggt_state(), "callbacks": Evil()}, tmp_path / "evil.ckpt")
    assert main(["models", "check", str(tmp_path / "evil.ckpt")]) == 2
    said = capsys.readouterr()
    assert "ran" not in said.out.split()
    assert said.err.count("\n") == 1 and "with code in it" in said.err and "print" in said.err


def test_a_truncated_file_is_refused_in_one_sentence(tmp_path, capsys):
    for name, write in (("a.safetensors", save_file), ("b.pt", torch.save)):
        path = tmp_path / name
        write(vggt_state(), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert main(["models", "check", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_conversion_names_a_safetensors_file(tmp_path, capsys):
    torch.save(vggt_state(), tmp_path / "model.pt")
    assert main(["models", "check", str(tmp_path / "model.pt"), "--convert", str(tmp_path / "out.bin")]) == 2
    assert "--convert must name a .safetensors file" in capsys.readouterr().err


def test_the_list_tells_what_is_read(capsys):
    assert main(["models", "list"]) == 0
    said = capsys.readouterr().out
    for name in ("VGGT-1B", "one2scene-scaffold"):
        assert f"{name} [paper: onescene scaffold --weights FILE runs it]" in said
    assert "SEVA [paper: onescene views --weights DIR runs it]" in said
    assert "Hunyuan-Pano-DiT, the paper's" in said and "hunyuan-text" in said
    assert "scaffold-small [small: runs here]" in said
