"""The small outpainter: its network on the sphere and its weight files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from onescene.geometry.equirect import directions_from_panorama
from onescene.models import registry
from onescene.models.outpainter import LARGE, SMALL, Outpainter, OutpainterConfig
from onescene.models.outpainter.network import latitude_channels, pad_sphere
from onescene.models.outpainter.weights import load_outpainter, outpainter_bytes

TINY = OutpainterConfig(height_px=32, channels=(8, 8, 16, 16), blocks=(1, 1, 1, 1), heads=2)


def tiny(seed: int = 0) -> Outpainter:
    """A tiny network whose every layer does something."""
    torch.manual_seed(seed)
    network = Outpainter(TINY).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network


def inputs(height: int = 32, batch: int = 1) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    placed, mask, draft = (torch.rand(batch, c, height, 2 * height, generator=draw) for c in (3, 1, 3))
    mask = (mask > 0.5).float()
    return [placed * mask, mask, draft, torch.randn(batch, 2, height, 2 * height, generator=draw)]


def test_a_border_continues_on_the_sphere():
    """Padded directions are those of the points beyond the border: across a pole the latitude falls again."""
    hw = (16, 32)
    padded = pad_sphere(directions_from_panorama(hw).permute(2, 0, 1)[None], 2)[0]
    step = torch.pi / 16
    latitude = torch.pi / 2 - (torch.arange(-2, 18) + 0.5) * step
    longitude = -torch.pi + (torch.arange(-2, 34) + 0.5) * step
    cosine, sine = latitude.cos()[:, None], latitude.sin()[:, None]  # a negative cosine is the opposite longitude
    expected = torch.stack((cosine * longitude.sin(), (-sine).expand(-1, 36), cosine * longitude.cos()))
    torch.testing.assert_close(padded, expected, atol=1e-5, rtol=0)


def test_latitude_is_what_a_row_sees():
    sine, cosine = latitude_channels((16, 32), torch.zeros(()))[0]
    x, y, z = directions_from_panorama((16, 32)).unbind(-1)
    torch.testing.assert_close(sine, -y, atol=1e-5, rtol=0)
    torch.testing.assert_close(cosine, (x * x + z * z).sqrt(), atol=1e-5, rtol=0)


def test_a_new_network_returns_the_draft():
    values = inputs()
    torch.testing.assert_close(Outpainter(TINY)(*values), values[2])


@pytest.mark.parametrize("columns", [16, 48])
def test_a_turned_photo_gives_the_turned_panorama(columns):
    """No column is the first one: what a plain convolution's border would break."""
    network, values = tiny(), inputs()
    with torch.no_grad():
        expected = network(*values).roll(columns, -1)
        torch.testing.assert_close(network(*(x.roll(columns, -1) for x in values)), expected, atol=1e-4, rtol=0)


def test_the_far_side_is_seen():
    """A change of the photo reaches the opposite longitude, through the attention."""
    network, values = tiny(), inputs()
    values[0].requires_grad_(True)
    network(*values)[..., :2].sum().backward()
    assert values[0].grad[..., 30:34].abs().max() > 0


@pytest.mark.parametrize("hw", [(24, 48), (32, 32)])
def test_a_size_that_does_not_fit_is_refused(hw):
    values = [torch.zeros(1, c, *hw) for c in (3, 1, 3, 2)]
    with pytest.raises(ValueError, match="multiple of 16"):
        Outpainter(TINY)(*values)


@pytest.mark.parametrize("config", [SMALL, LARGE])
def test_every_size_ships_in_24_mb(config):
    with torch.device("meta"):
        network = Outpainter(config)
    assert 2 * sum(p.numel() for p in network.parameters()) < 24e6
    assert SMALL.height_px % 16 == LARGE.height_px % 16 == 0


def test_a_weight_file_holds_its_sizes(tmp_path):
    network, path = tiny(), tmp_path / "w.safetensors"
    path.write_bytes(outpainter_bytes(network, {"licence": "CC0"}))
    loaded, file = load_outpainter(path)
    assert loaded.config == TINY and file.licence == "CC0" and not loaded.training
    values = inputs()
    with torch.no_grad():
        torch.testing.assert_close(loaded(*values), network(*values), atol=5e-3, rtol=0)  # half precision


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="outpainter weights not found"):
        load_outpainter(tmp_path / "none.safetensors")
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(2)}, plain)
    with pytest.raises(ValueError, match="must be an outpainter's"):
        load_outpainter(plain)
    wrong = tmp_path / "wrong.safetensors"
    sizes = {"config": json.dumps(vars(replace(TINY, noise=3)))}
    save_file(tiny().state_dict(), wrong, metadata=sizes)
    with pytest.raises(ValueError, match=r"do not fit Outpainter: 1 wrong shape \(first: read.weight"):
        load_outpainter(wrong)


@pytest.mark.parametrize(("name", "config"), [("outpainter-small", SMALL), ("outpainter-large", LARGE)])
def test_a_file_is_known_by_its_keys(tmp_path, name, config):
    path = tmp_path / "w.safetensors"
    path.write_bytes(outpainter_bytes(Outpainter(config), {}))
    found = registry.check_file(path)
    assert found.model == name and found.report.fits
