"""Means of weight files: what they hold, what they say of themselves, what is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from onescene.cli.entry import main
from onescene.models.average import average_weights
from onescene.models.loading import read_metadata


def weights(path, value: float, **said: str):
    state = {"layer.weight": torch.full((2, 3), value).half(), "norm.count": torch.tensor(int(value))}
    save_file(state, path, metadata=said)
    return path


def test_the_mean_of_three_files(tmp_path):
    files = [weights(tmp_path / f"{v}.safetensors", v, steps=str(v), licence="Apache-2.0") for v in (1, 2, 6)]
    out = tmp_path / "mean.safetensors"
    assert main(["models", "average", *map(str, files), "--out", str(out)]) == 0
    mean = load_file(out)
    assert mean["layer.weight"].dtype == torch.float16 and torch.equal(
        mean["layer.weight"], torch.full((2, 3), 3.0).half()
    )
    assert mean["norm.count"] == 1
    assert read_metadata(out) == {"licence": "Apache-2.0", "steps": "mean of 1 and 2 and 6"}


def test_what_has_no_mean_is_refused(tmp_path, capsys):
    one = weights(tmp_path / "one.safetensors", 1)
    with pytest.raises(ValueError, match="needs two weight files or more, got 1"):
        average_weights([one])
    broken = {"layer.weight": torch.full((2, 3), torch.nan), "norm.count": torch.tensor(1)}
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"broken\.safetensors: layer\.weight holds a NaN or an infinity"):
        average_weights([one, tmp_path / "broken.safetensors"])
    save_file({"layer.weight": torch.zeros(3, 3), "norm.count": torch.tensor(1)}, tmp_path / "other.safetensors")
    out = tmp_path / "mean.safetensors"
    assert main(["models", "average", str(one), str(tmp_path / "other.safetensors"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "1 wrong shape (first: layer.weight: file (3, 3), network (2, 3))" in said and not out.exists()
    assert main(["models", "average", str(one), str(one), "--out", str(tmp_path / "mean.pt")]) == 2
