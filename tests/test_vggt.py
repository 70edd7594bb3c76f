"""VGGT against the stored outputs and keys of the public network, and against what it must be by construction."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden_adapters import vggt
from golden_weights import fill, read_golden, relative_l2
from torch import nn
from torch.testing import assert_close

from onescene.models.vggt import PAPER, SMALL, VGGT, VGGTConfig
from onescene.models.vggt.blocks import Attention, rope_tables, rotate
from onescene.models.vggt.dpt import ResidualConvUnit
from onescene.models.vggt.network import UNUSED_PREFIXES

# the golden README's suggestions: 5e-6 for tokens, 2e-5 for depth; what is found is 10 to 100 times closer
TOLERANCE = {"tokens_first": 5e-6, "tokens_last": 5e-6, "depth": 2e-5, "depth_conf": 2e-5, "pose_enc": 5e-6}

TINY = VGGTConfig(
    img_size=56,
    embed_dim=64,
    depth=4,
    num_heads=4,
    vit_depth=3,
    features=32,
    out_channels=(16, 32, 64, 64),
    intermediate_layer_idx=(0, 1, 2, 3),
    camera_trunk_depth=2,
)


def waves(frames: int, hw: tuple[int, int]) -> torch.Tensor:
    """Images in [0, 1] that a formula gives, each frame another; [1, frames, 3, H, W]."""
    grid = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (1, frames, 3, *hw)), indexing="ij")
    _, s, c, y, x = grid
    return (0.5 + 0.5 * torch.sin(0.37 * x + (0.11 + 0.05 * s) * y + 1.3 * c + s)).float()


def filled(config: VGGTConfig) -> VGGT:
    """A network with the golden rule's weights: every parameter matters."""
    return fill(VGGT(config))


def test_the_stored_outputs(golden_file):
    config, weights, stored = read_golden(golden_file("vggt_tiny"))
    found = vggt(config, weights, stored["images"])
    errors = {name: relative_l2(found[name], stored[name]) for name in TOLERANCE}
    assert all(errors[name] <= TOLERANCE[name] for name in TOLERANCE), errors


@pytest.fixture(scope="module")
def full_size() -> VGGT:
    with torch.device("meta"):
        return VGGT(replace(PAPER, point_head=True))


def test_keys_and_shapes_of_the_public_checkpoint(golden_file, full_size):
    manifest = json.loads(golden_file("vggt_1b_manifest").read_text())
    own = {k: list(v.shape) for k, v in full_size.state_dict().items()}
    unused = {k for k in manifest if k.startswith(UNUSED_PREFIXES)}
    assert len(manifest) == 1797
    assert own == {k: shape for k, shape in manifest.items() if k not in unused}
    assert {k.partition(".")[0] for k in unused} == {"track_head"}


@pytest.mark.parametrize(
    ("part", "values"),
    [("aggregator", 909_112_320), ("camera_head", 216_174_610), ("point_head", 32_654_628), ("depth_head", 32_654_562)],
)
def test_values_of_the_public_checkpoint(full_size, part, values):
    assert sum(p.numel() for p in getattr(full_size, part).parameters()) == values


# Slices of this network's own output, taken when it reproduced the stored outputs of the public one.
REFERENCE = {
    ("dinov2", (56, 56)): (
        [1.359408, 1.533646, 1.411625, 1.664271, 1.646791, 1.458714, 1.142792],
        [1.863469, 1.520793, 1.591918, 1.668195, 1.705292],
        [-1.237588, 0.412802, 2.518438, 1.017461, -2.974733, -2.155656, -2.531971, 0.652413, 1.312501],
    ),
    ("dinov2", (28, 42)): (
        [1.162403, 1.512581, 1.449538, 1.046169],
        [1.848665, 1.590712, 1.650999, 1.666981],
        [-1.666681, 0.39249, 2.268331, 2.352772, -2.495658, -1.718754, -2.863514, 1.698488, 1.073413],
    ),
    ("conv", (28, 42)): (
        [1.249129, 1.331069, 1.207664, 1.076353],
        [1.75905, 1.46929, 1.665379, 1.863928],
        [0.370264, 1.450514, 0.047588, 3.553495, -0.203759, -2.489169, -1.662103, 0.0, 1.709346],
    ),
}


@pytest.mark.parametrize(("patch_embed", "hw"), REFERENCE)
def test_reference_slices(patch_embed, hw):
    with torch.no_grad():
        out = filled(replace(TINY, patch_embed=patch_embed))(waves(3, hw))
    found = (out.depth_z[0, 1, ::9, 13], out.confidence[0, 2, 5, ::13], out.pose_encoding[0, 1])
    for slice_, stored in zip(found, REFERENCE[patch_embed, hw], strict=True):
        assert_close(slice_, torch.tensor(stored), rtol=1e-5, atol=5e-6)


def test_rotary_embedding_is_a_turn_of_complex_numbers():
    """The slow twin: channel i and i + quarter are one complex number, turned by position * base^(-i / quarter)."""
    rows, columns, quarter = 3, 5, 4
    x = torch.randn(2, 1 + rows * columns, 4 * quarter, dtype=torch.float64)
    found = rotate(x, rope_tables((rows, columns), 4 * quarter, 1, x))
    assert_close(found[:, 0], x[:, 0])
    for token, (row, column) in enumerate(((r, c) for r in range(rows) for c in range(columns)), 1):
        for place, start in ((row + 1, 0), (column + 1, 2 * quarter)):
            for i in range(quarter):
                a, b = start + i, start + i + quarter
                turned = torch.complex(x[:, token, a], x[:, token, b]) * torch.exp(
                    torch.tensor(1j * place * 100.0 ** (-i / quarter), dtype=torch.complex128)
                )
                assert_close(torch.stack((found[:, token, a], found[:, token, b])), torch.view_as_real(turned).T)


def test_attention_sees_differences_of_positions_only():
    """Moving all patches by a row and a column changes no score: why a constant offset has no effect."""
    x = torch.randn(1, 16, 8, dtype=torch.float64)
    cosine, sine = rope_tables((8, 8), 8, 0, x)
    here = [t.view(8, 8, -1)[:4, :4].flatten(0, 1) for t in (cosine, sine)]
    there = [t.view(8, 8, -1)[3:7, 2:6].flatten(0, 1) for t in (cosine, sine)]
    scores = [rotate(x, tables) @ rotate(x, tables).mT for tables in (here, there)]
    assert_close(*scores)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_attention_is_softmax_of_scores(qk_norm):
    layer = Attention(16, 2, qk_norm).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    rope = rope_tables((2, 2), 8, 1, x)
    q, k, v = layer.qkv(x).view(2, 5, 3, 2, 8).unbind(2)
    q, k = (rotate(norm(t).transpose(1, 2), rope) for norm, t in ((layer.q_norm, q), (layer.k_norm, k)))
    weights = torch.softmax(q @ k.mT / 8**0.5, dim=-1)
    expected = layer.proj((weights @ v.transpose(1, 2)).transpose(1, 2).reshape(2, 5, 16))
    assert_close(layer(x, rope), expected)


def test_the_skip_of_a_residual_unit():
    """With silent convolutions VGGT's unit gives relu(x), CroCo's gives x."""
    x = torch.linspace(-1, 1, 36).view(1, 1, 6, 6)
    for relu_skip, expected in ((True, x.relu()), (False, x)):
        unit = ResidualConvUnit(1, relu_skip)
        for p in unit.parameters():
            nn.init.zeros_(p)
        assert_close(unit(x), expected)


def test_the_order_of_frames_after_the_first_does_not_matter():
    network, images = filled(TINY), waves(4, (28, 42))
    order = [0, 3, 1, 2]
    with torch.no_grad():
        a, b = network(images), network(images[:, order])
    for name in ("depth_z", "confidence", "pose_encoding"):
        assert_close(getattr(b, name), getattr(a, name)[:, order], rtol=1e-4, atol=1e-5)


def test_scenes_of_a_batch_do_not_see_each_other():
    network = filled(TINY)
    a, b = waves(5, (28, 42)), 1 - waves(5, (28, 42))
    with torch.no_grad():
        both, alone = network(torch.cat((a, b))), network(b)
    assert_close(both.depth_z[1:], alone.depth_z, rtol=1e-4, atol=1e-5)
    assert_close(both.pose_encoding[1:], alone.pose_encoding, rtol=1e-4, atol=1e-5)


def test_every_parameter_that_acts_gets_a_gradient():
    network = filled(replace(TINY, point_head=True))
    out = network(waves(2, (28, 28)))
    (out.depth_z.log().sum() + out.confidence.log().sum() + out.pose_encoding.sum() + out.points.sum()).backward()
    silent = {k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    # the first is of DINOv2's training, the second of the first correction, which is taken as given
    assert silent == {"aggregator.patch_embed.mask_token", "camera_head.empty_pose_tokens"}
    assert all(torch.isfinite(p.grad).all() for k, p in network.named_parameters() if k not in silent)


def test_it_overfits_one_scene():
    torch.manual_seed(0)
    network = VGGT(replace(TINY, patch_embed="conv", depth=1, intermediate_layer_idx=(0, 0, 0, 0)))
    images, true = waves(2, (28, 28)), 1 + waves(2, (28, 28))[:, :, 0]
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = (network(images).depth_z.log() - true.log()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0], losses


COMPILES = """
import torch
from test_vggt import TINY, filled, waves
network, images = filled(TINY), waves(2, (28, 42))
with torch.no_grad():
    compiled = torch.compile(network, backend="eager", fullgraph=True)(images)
    torch.testing.assert_close(compiled.depth_z, network(images).depth_z)
"""


def run_untyped(source: str) -> None:
    """Runs Python in a process of its own without the shape checker of the tests, which cannot be traced."""
    tests = Path(__file__).parent
    environment = {k: v for k, v in os.environ.items() if k != "ONESCENE_TYPECHECK"}
    environment["PYTHONPATH"] = os.pathsep.join((str(tests.parent), str(tests)))
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_it_compiles_into_one_graph():
    """No branch of the forward pass depends on values: a break in the graph would raise."""
    run_untyped(COMPILES)


def test_bfloat16_stays_near():
    network, images = filled(TINY), waves(3, (56, 56))
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(images)
    assert relative_l2(rough.depth_z.float().log(), exact.depth_z.log()) < 0.1  # 8 bits, random weights, 11 blocks


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape", [(6, 3, 56, 56), (1, 6, 4, 56, 56), (1, 6, 3, 56, 50)])
def test_wrong_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must be \[B, S, 3, H, W\]"):
        VGGT(replace(TINY, patch_embed="conv"))(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patch_embed": "dino"}, "patch_embed must be one of dinov2, conv, lite0, got 'dino'"),
        ({"num_heads": 5}, "embed_dim must be a multiple"),
        ({"num_heads": 0}, "num_heads and patch_size must be >= 1"),
        ({"intermediate_layer_idx": (0, 1, 2, 4)}, "four layers below 4"),
    ],
)
def test_wrong_sizes_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        VGGT(replace(TINY, **change))


def test_the_small_preset_is_small():
    with torch.device("meta"):
        assert sum(p.numel() for p in VGGT(SMALL).parameters()) < 60e6
