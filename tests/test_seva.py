"""SEVA's U-Net against the stored outputs and keys of the public code, and against slow twins of its parts."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import TYPECHECK
from golden_adapters import seva
from golden_weights import fill, read_golden, relative_l2
from torch.testing import assert_close

from onescene.models.seva import PAPER, SMALL, SevaConfig, SevaUNet
from onescene.models.seva.layers import ResBlock, noise_embedding
from onescene.models.seva.transformer import Adapters, Attention, Scope

TOLERANCE = 5e-6  # relative L2, the golden README's; found 1.4e-6
TINY = SevaConfig(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(2, 1),
    num_head_channels=16,
    transformer_depth=(2, 1),
    context_dim=8,
    num_frames=3,
    unflatten_names=("middle_ds2", "output_ds1"),
)

TINIEST = replace(TINY, channel_mult=(1,), transformer_depth=(1,), unflatten_names=("middle_ds1",))


def waves(*shape: int, phase: float = 0.0) -> torch.Tensor:
    """Numbers that a formula gives, the same everywhere: sin of the squared index."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(0.001 * index**2 + 0.7 * index + phase).float().reshape(shape)


def inputs(config: SevaConfig, scenes: int = 1, hw: tuple[int, int] = (4, 6)) -> tuple[torch.Tensor, ...]:
    """x, t, context and dense of some scenes."""
    n = scenes * config.num_frames
    context = waves(scenes, 1, config.context_dim, phase=2).repeat_interleave(config.num_frames, dim=0)
    t = torch.linspace(5, 990, n)
    return waves(n, config.in_channels, *hw), t, context, waves(n, config.dense_in_channels, *hw, phase=1)


def filled(config: SevaConfig) -> SevaUNet:
    """A network with the golden rule's weights: every parameter matters."""
    return fill(SevaUNet(config))


# --- the public network ----------------------------------------------------------------------------------------------


def test_the_stored_output(golden_file):
    config, weights, stored = read_golden(golden_file("seva_tiny"))
    found = seva(config, weights, *(stored[k] for k in ("x", "t", "context", "dense")))
    assert relative_l2(found["out"], stored["out"]) <= TOLERANCE


def test_keys_and_shapes_of_the_public_checkpoint(golden_file):
    manifest = json.loads(golden_file("seva_manifest").read_text())
    with torch.device("meta"):
        own = {k: list(v.shape) for k, v in SevaUNet(PAPER).state_dict().items()}
    assert len(own) == 1146
    assert own == manifest


def test_number_of_values_of_the_public_checkpoint():
    with torch.device("meta"):
        assert sum(v.numel() for v in SevaUNet(PAPER).state_dict().values()) == 1_263_968_004


# A corner of this network's own answer, written down when it reproduced the stored output of the public one.
REFERENCE = [[-0.265051, -0.634645, -0.107187], [-0.356583, -0.115207, -0.054781], [-0.049277, -0.371737, 0.680327]]


@torch.no_grad()
def test_the_reference_slice():
    found = filled(TINY)(*inputs(TINY))
    assert_close(found[:, 1, 2, :3], torch.tensor(REFERENCE), atol=2e-6, rtol=1e-5)


def test_an_absent_parameter_has_the_published_size():
    assert SevaConfig.from_official({"model_channels": 320, "input": [21, 72, 72]}) == PAPER
    assert SevaConfig.from_official({"channel_mult": [1, 2, 2, 2]}).channel_mult == (1, 2, 2, 2)
    assert SevaConfig.from_official({"channel_mult": [1, 2]}).transformer_depth == (1, 1)


# --- parts -----------------------------------------------------------------------------------------------------------


def test_noise_embedding_by_hand():
    found = noise_embedding(torch.tensor([0.0, 2.0]), 4)
    by_hand = [[1, 1, 0, 0], [math.cos(2), math.cos(0.02), math.sin(2), math.sin(0.02)]]
    assert_close(found, torch.tensor(by_hand))


def test_scope_by_hand():
    x = torch.tensor([[[11.0], [12]], [[21], [22]], [[31], [32]], [[41], [42]]])  # two scenes of two frames
    joined = {how: Scope(how, 2).join(x)[..., 0].tolist() for how in ("frame", "joint", "time")}
    assert joined["frame"] == [[11, 12], [21, 22], [31, 32], [41, 42]]
    assert joined["joint"] == [[11, 12, 21, 22], [31, 32, 41, 42]]
    assert joined["time"] == [[11, 21], [12, 22], [31, 41], [32, 42]]


@pytest.mark.parametrize("how", ["frame", "joint", "time"])
def test_scope_there_and_back(how):
    x, scope = waves(6, 5, 4), Scope(how, 3)
    assert_close(scope.split(scope.join(x), positions=5), x, atol=0, rtol=0)


def attention_twin(layer: Attention, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Attention in plain sums, head by head; no adapters."""
    q, k, v = layer.to_q(queries), layer.to_k(keys), layer.to_v(keys)
    size = q.shape[-1] // layer.heads
    heads = []
    for h in range(layer.heads):
        part = slice(h * size, (h + 1) * size)
        logits = q[..., part] @ k[..., part].transpose(-1, -2) / math.sqrt(size)
        heads.append(torch.softmax(logits, dim=-1) @ v[..., part])
    return layer.to_out[0](torch.cat(heads, dim=-1))


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("how", ["frame", "joint", "time"])
@torch.no_grad()
def test_attention_equals_its_twin(how, tokens):
    layer, cross = Attention(8, 2, Adapters()), Attention(8, 2, Adapters(), context_dim=6)
    scope, x, context = Scope(how, 3), waves(6, 4, 8), waves(6, tokens, 6)
    assert_close(layer(x, None, scope), scope.split(attention_twin(layer, *[scope.join(x)] * 2), 4))
    context = context if how == "frame" else context[::3].repeat_interleave(3, dim=0)
    found = cross.cross(x, context, None, scope).expand(x.shape)  # with one token: one answer for all positions
    assert_close(found, attention_twin(cross, x, context))


@torch.no_grad()
def test_residual_block_equals_its_twin():
    block, x, noise, rays = ResBlock(32, 64, 16, 6, Adapters()), waves(2, 32, 4, 6), waves(2, 16), waves(2, 6, 9, 13)
    modulation = block.dense_emb_layers[0](F.interpolate(rays, (4, 6), mode="bilinear", align_corners=True))
    h = F.silu(F.group_norm(x, 32, *block.in_layers[0].parameters(), eps=1e-5))
    h = block.in_layers[2](h * (1 + modulation[:, :32]) + modulation[:, 32:])
    h = h + block.emb_layers[1](F.silu(noise))[:, :, None, None]
    h = block.out_layers[3](F.silu(F.group_norm(h, 32, *block.out_layers[0].parameters(), eps=1e-5)))
    assert_close(block(x, noise, rays, None), block.skip_connection(x) + h)


def test_norms_have_the_constants_of_the_public_code():
    """A wrong one moves the stored output by less than its rounding, so it is looked at directly."""
    with torch.device("meta"):
        modules = dict(SevaUNet(TINY).named_modules())
    inside = {k: m for k, m in modules.items() if isinstance(m, torch.nn.GroupNorm) and k.endswith(".norm")}
    outside = {k: m for k, m in modules.items() if isinstance(m, torch.nn.GroupNorm) and k not in inside}
    assert len(inside) == 7 and {m.eps for m in inside.values()} == {1e-6}
    assert len(outside) == 17 and {m.eps for m in outside.values()} == {1e-5}
    assert {m.eps for m in modules.values() if isinstance(m, torch.nn.LayerNorm)} == {1e-5}


# --- the whole -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_scenes_do_not_see_each_other():
    network, both = filled(TINY), inputs(TINY, scenes=2)
    together = network(*both)
    for scene in (slice(0, 3), slice(3, 6)):
        assert_close(network(*(part[scene] for part in both)), together[scene], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_frames_have_no_order():
    network, parts, order = filled(TINY), inputs(TINY), torch.tensor([2, 0, 1])
    assert_close(network(*(p[order] for p in parts)), network(*parts)[order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("names", [(), ("middle_ds2",)])
@torch.no_grad()
def test_frames_see_each_other_elsewhere_only_where_they_attend_jointly(names):
    """Along time a position sees itself in the other frames; at another place only joint attention looks."""
    config = replace(TINY, unflatten_names=names)
    network, scope = filled(config), Scope("time", 3)
    block = network.middle_block[1]
    assert block.how == ("joint" if names else "frame")
    x = waves(6, 4, 64)
    changed = x.clone()
    changed[0, 0] += 1
    mixing = block.time_mix_blocks[0]
    moved = (mixing(changed, waves(6, 1, 8), None, scope) - mixing(x, waves(6, 1, 8), None, scope)).abs().amax(-1) > 0
    assert moved.nonzero().tolist() == [[0, 0], [1, 0], [2, 0]]


def test_every_parameter_has_a_gradient():
    network = filled(replace(TINY, transformer_depth=(1, 1)))
    network(*inputs(TINY)).square().sum().backward()
    # with one context token attention's answer does not depend on who asks, here and in the public code
    idle = ("attn2.to_q", "attn2.to_k", "norm2")
    still = {k for k, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    assert still == {k for k, _ in network.named_parameters() if any(part in k for part in idle)}


def test_it_fits_one_sample():
    torch.manual_seed(0)
    network, parts = SevaUNet(TINIEST), inputs(TINIEST)
    optimiser, wanted = torch.optim.Adam(network.parameters(), lr=3e-3), waves(3, 4, 4, 6, phase=3)
    assert network(*parts).abs().max() == 0, "a fresh network starts at zero"
    for _ in range(40):
        loss = F.mse_loss(network(*parts), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05 * float(wanted.square().mean())


@pytest.mark.skipif(TYPECHECK, reason="the shape checker wraps functions, and the compiler does not look through it")
@torch.no_grad()
def test_it_compiles_into_one_graph():
    network, parts = filled(TINIEST), inputs(TINIEST)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    assert_close(compiled(*parts), network(*parts), atol=1e-5, rtol=1e-4)


def test_state_dict_there_and_back():
    torch.manual_seed(1)
    first, second = SevaUNet(TINY), SevaUNet(TINY)
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_small_network_runs_on_a_laptop():
    with torch.device("meta"):
        network = SevaUNet(SMALL)
        out = network(*(part.to("meta") for part in inputs(SMALL, hw=(32, 32))))
    assert out.shape == (10, 192, 32, 32)
    with_adapters = SevaUNet(replace(SMALL, lora_rank=8))
    assert 2 * sum(p.numel() for p in with_adapters.parameters()) < 40e6  # bytes in half precision


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"channel_mult": (1, 2, 4)}, "one entry per level"),
        ({"model_channels": 40}, "multiple of 32, got 40"),
        ({"num_head_channels": 24}, "must divide the 32 channels of level 0"),
        ({"num_head_channels": 0}, "num_head_channels must be >= 1"),
        ({"channel_mult": (), "transformer_depth": ()}, "channel_mult have a level"),
        ({"num_frames": 0}, "must be >= 1"),
    ],
)
def test_impossible_sizes(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(TINY, **change)


def test_unfit_inputs(shapes_unchecked):
    network, (x, t, context, dense) = SevaUNet(TINY), inputs(TINY)
    with pytest.raises(ValueError, match="whole scenes of 3 frames, got 2 frames"):
        network(x[:2], t[:2], context[:2], dense[:2])
    with pytest.raises(ValueError, match=r"multiples of 2, got \(4, 5\)"):
        network(x[..., :5], t, context, dense[..., :5])
    with pytest.raises(ValueError, match="lora_rank is 0"):
        network(x, t, context, dense, torch.zeros(3))
    with pytest.raises(ValueError, match=r"source_view_mask must hold a number per frame, 3, got \(2,\)"):
        SevaUNet(replace(TINY, lora_rank=2))(x, t, context, dense, torch.zeros(2))
