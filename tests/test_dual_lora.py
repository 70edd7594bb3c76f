"""Dual-LoRA: the layers by hand, the released network's stored outputs and keys, adapters as standard files."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from golden_adapters import dual_lora
from golden_weights import read_golden, relative_l2
from safetensors.torch import load, save
from test_seva import TINY, filled, inputs, waves
from torch.testing import assert_close

from onescene.models.dual_lora import DualLoRAConv2d, DualLoRALinear, adapter_parameters, train_adapters_only
from onescene.models.seva import RELEASE, SevaUNet
from onescene.models.seva.adapter_files import adapter_files, adapter_state, load_adapter, merged_weights
from onescene.models.seva.transformer import Adapters, Attention, Scope

TOLERANCE = 5e-6  # relative L2, the golden README's; found 2.0e-6
TINY_DUAL = replace(TINY, transformer_depth=(1, 1), lora_rank=2)
MASK = torch.tensor([1.0, 0.0, 1.0])


def with_numbers(layer):
    """Gives a layer's B matrices numbers: fresh ones are zero."""
    with torch.no_grad():
        for index, parameter in enumerate(p for k, p in layer.named_parameters() if "lora_B" in k):
            parameter.copy_(waves(*parameter.shape, phase=float(index)))
    return layer


# --- layers ----------------------------------------------------------------------------------------------------------


def test_linear_layer_by_hand():
    layer = DualLoRALinear(1, 1, rank=1, alpha=0.5, bias=False)
    state = {"weight": 1.0, "lora_A1": 2.0, "lora_B1": 3.0, "lora_A2": 5.0, "lora_B2": 7.0}
    layer.load_state_dict({k: torch.tensor([[v]]) for k, v in state.items()})
    x, mask = torch.tensor([[[10.0]], [[10.0]]]), torch.tensor([[0.0], [1.0]])
    assert layer(x, mask).flatten().tolist() == [10 + 0.5 * 60, 10 + 0.5 * 350]
    assert layer(x, mask / 2).flatten().tolist() == [40.0, 10 + 0.5 * (60 + 350) / 2]
    assert layer(x).flatten().tolist() == [10, 10]


@torch.no_grad()
def test_linear_layer_equals_its_twin():
    layer, x = with_numbers(DualLoRALinear(5, 7, rank=3, alpha=4)), waves(3, 4, 5)
    update = [x @ getattr(layer, f"lora_A{n}").T @ getattr(layer, f"lora_B{n}").T for n in (1, 2)]
    twin = torch.stack([F.linear(x, layer.weight, layer.bias)[i] + 4 / 3 * update[int(MASK[i])][i] for i in range(3)])
    assert_close(layer(x, MASK[:, None]), twin)


@torch.no_grad()
def test_convolution_adapts_one_pixel_at_a_time():
    layer, x = with_numbers(DualLoRAConv2d(3, 5, 3, rank=2)), waves(3, 3, 4, 6)
    twin = F.conv2d(x, layer.weight, layer.bias, padding=1)
    for frame, number in enumerate(MASK.int().tolist()):
        a, b = getattr(layer, f"lora_A{number + 1}"), getattr(layer, f"lora_B{number + 1}")
        twin[frame] += 2 * torch.einsum("or,ri,ihw->ohw", b, a, x[frame])
    assert_close(layer(x, MASK), twin)
    assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))


def test_fresh_adapters_change_nothing_and_learn():
    layer, x = DualLoRALinear(4, 4), waves(2, 3, 4)
    assert_close(layer(x, torch.ones(2, 1)), layer(x), atol=0, rtol=0)
    layer(x, torch.ones(2, 1)).square().sum().backward()
    assert layer.lora_B2.grad.abs().max() > 0
    assert layer.lora_B1.grad.abs().max() == 0, "the other adapter must not learn from rendered frames"


def test_rank_zero_is_refused():
    with pytest.raises(ValueError, match="rank must be >= 1, got 0"):
        DualLoRALinear(4, 4, rank=0)


def attention_twin(layer: Attention, x: torch.Tensor, context: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attention to one token of a scene as the release has it: one key for every asking token. [1, tokens, c]."""
    keys = context[:, :1].expand(-1, x.shape[1], -1)
    q, k, v = layer.to_q(x, mask), layer.to_k(keys, mask), layer.to_v(keys, mask)
    q, k, v = (part.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for part in (q, k, v))
    weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    return layer.to_out[0]((weights @ v).transpose(1, 2).flatten(2), mask)


@torch.no_grad()
def test_one_key_per_frame_is_as_good_as_one_per_token():
    layer = with_numbers(Attention(8, 2, Adapters(rank=2), context_dim=6))
    x, context = waves(3, 5, 8), waves(1, 1, 6).expand(3, -1, -1)
    joint = attention_twin(layer, x.reshape(1, 15, 8), context[:1], MASK.repeat_interleave(5)[None])
    assert_close(layer.cross(x, context, MASK[:, None], Scope("joint", 3)), joint.view(3, 5, 8))
    time = torch.cat([attention_twin(layer, x[None, :, p], context[:1], MASK[None]) for p in range(5)])
    assert_close(layer.cross(x, context, MASK[:, None], Scope("time", 3)), time.transpose(0, 1))
    frame = torch.stack([attention_twin(layer, x[f : f + 1], context[:1], MASK[f : f + 1, None])[0] for f in range(3)])
    assert_close(layer.cross(x, context, MASK[:, None], Scope("frame", 3)).expand(x.shape), frame)


# --- the released network --------------------------------------------------------------------------------------------


def test_the_stored_outputs(golden_file):
    config, weights, stored = read_golden(golden_file("dual_lora_tiny"))
    found = dual_lora(config, weights, *(stored[k] for k in ("x", "t", "context", "dense", "source_view_mask")))
    errors = {name: relative_l2(found[name], stored[name]) for name in found}
    assert set(errors) == {"out", "out_all_source", "out_all_target", "out_adapters_off"}
    assert max(errors.values()) <= TOLERANCE, errors


def test_keys_and_shapes_of_the_released_network(golden_file):
    manifest = json.loads(golden_file("dual_lora_manifest").read_text())
    with torch.device("meta"):
        own = {k: list(v.shape) for k, v in SevaUNet(RELEASE).state_dict().items()}
    assert len(own) == 3094
    assert own == manifest


def test_number_of_adapters_of_the_released_network():
    with torch.device("meta"):
        adapters = adapter_parameters(SevaUNet(RELEASE))
    assert len(adapters) == 1944
    assert sum(p.numel() for p in adapters) == 19_549_248


# A corner of this network's own answer, written down when it reproduced the stored outputs of the released one.
REFERENCE = [[-0.176456, 0.490491, -0.052178], [0.208778, 0.41779, -0.227217], [-0.451687, 0.984956, 1.410181]]


@torch.no_grad()
def test_the_reference_slice():
    found = filled(TINY_DUAL)(*inputs(TINY_DUAL), MASK)
    assert_close(found[:, 1, 2, :3], torch.tensor(REFERENCE), atol=2e-6, rtol=1e-5)


# --- training --------------------------------------------------------------------------------------------------------


def test_only_adapters_are_trained():
    network = filled(TINY_DUAL)
    adapters = train_adapters_only(network)
    before = {k: p.detach().clone() for k, p in network.named_parameters()}
    optimiser = torch.optim.SGD(adapters, lr=0.1)
    network(*inputs(TINY_DUAL), MASK).square().mean().backward()
    optimiser.step()
    changed = {k for k, p in network.named_parameters() if not torch.equal(p, before[k])}
    adapters = {k for k in before if ".lora_" in k}
    # one frame asks one token; with a channel per group, the norm takes the noise level out again
    idle = {k for k in adapters if any(part in k for part in ("attn2.to_q", "attn2.to_k", ".emb_layers."))}
    assert changed <= adapters and adapters - idle <= changed
    with pytest.raises(ValueError, match="must have adapters"):
        train_adapters_only(SevaUNet(TINY))


# --- files -----------------------------------------------------------------------------------------------------------


def write(files: dict[str, bytes], folder) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@torch.no_grad()
def test_adapters_there_and_back(tmp_path):
    first, second = filled(TINY_DUAL), SevaUNet(TINY_DUAL)
    second.load_state_dict({k: v for k, v in first.state_dict().items() if ".lora_" not in k}, strict=False)
    for which in (1, 2):
        write(adapter_files(first, which), tmp_path / str(which))
        load_adapter(second, which, tmp_path / str(which))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_file_has_the_names_and_shapes_of_peft():
    files = adapter_files(filled(TINY_DUAL), 2)
    state, config = load(files["adapter_model.safetensors"]), json.loads(files["adapter_config.json"])
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 4)
    stem = "base_model.model.input_blocks.1.0.in_layers.2.lora_"
    assert state[f"{stem}A.weight"].shape == (2, 32, 3, 3)
    assert state[f"{stem}B.weight"].shape == (32, 2, 1, 1)
    assert {k.removeprefix("base_model.model.").rsplit(".lora_")[0] for k in state} == set(config["target_modules"])
    with torch.device("meta"):
        plain = dict(SevaUNet(TINY).named_modules())
    assert set(config["target_modules"]) <= set(plain)


@pytest.mark.parametrize(("which", "value"), [(1, 0.0), (2, 1.0)])
@torch.no_grad()
def test_a_standard_adapter_on_a_plain_network_is_one_side_of_the_dual_one(which, value):
    """The LoRA rule W + alpha / rank B A, applied to the file's tensors as any reader of the format does."""
    dual, plain = filled(TINY_DUAL).double(), SevaUNet(replace(TINY_DUAL, lora_rank=0)).double()
    plain.load_state_dict(merged_weights(dual, which))
    parts = [part.double() for part in inputs(TINY_DUAL)]
    assert_close(plain(*parts), dual(*parts, torch.full((3,), value)), atol=1e-10, rtol=1e-9)
    state, base = adapter_state(dual, which), dual.state_dict()
    for name in {k.removeprefix("base_model.model.").rsplit(".lora_")[0] for k in state}:
        a, b = (state[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        update = torch.einsum("or,ri...->oi...", b.flatten(1), a)
        assert_close(plain.state_dict()[f"{name}.weight"], base[f"{name}.weight"] + 4 / 2 * update)


@pytest.mark.parametrize(("which", "value"), [(1, 0.0), (2, 1.0)])
@torch.no_grad()
def test_peft_itself_reads_a_file(tmp_path, which, value):
    peft = pytest.importorskip("peft", reason="peft, a program that reads such files, is not installed")
    dual, plain = filled(TINY_DUAL).double(), SevaUNet(replace(TINY_DUAL, lora_rank=0)).double()
    plain.load_state_dict({k: v for k, v in dual.state_dict().items() if k in plain.state_dict()})
    write(adapter_files(dual, which), tmp_path)
    adapted = peft.PeftModel.from_pretrained(plain, str(tmp_path)).double()
    parts = [part.double() for part in inputs(TINY_DUAL)]
    assert_close(adapted(*parts), dual(*parts, torch.full((3,), value)), atol=1e-10, rtol=1e-9)


def test_adapters_of_another_kind_are_refused(tmp_path):
    network, files = filled(TINY_DUAL), adapter_files(filled(TINY_DUAL), 1)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(FileNotFoundError, match="adapter config not found"):
        load_adapter(network, 1, tmp_path)
    config = json.loads(files["adapter_config.json"])
    write(files | {"adapter_config.json": json.dumps(config | {"r": 4}).encode()}, tmp_path)
    with pytest.raises(ValueError, match="rank 2 as the network has, got 4"):
        load_adapter(network, 1, tmp_path)
    write(files | {"adapter_config.json": json.dumps(config | {"lora_alpha": 1}).encode()}, tmp_path)
    with pytest.raises(ValueError, match="lora_alpha must be 4, got 1"):
        load_adapter(network, 1, tmp_path)
    state = load(files["adapter_model.safetensors"])
    key = "base_model.model.input_blocks.1.0.in_layers.2.lora_A.weight"
    changes = {
        "another base: 1 keys differ": {k: v for k, v in state.items() if k != key},
        r"must be \(2, 32, 3, 3\), got \(2, 32, 1, 1\)": state | {key: state[key][..., :1, :1].clone()},
        "weights beside the centre": state | {key: torch.ones_like(state[key])},
    }
    for sentence, changed in changes.items():
        write(files | {"adapter_model.safetensors": save(changed)}, tmp_path)
        with pytest.raises(ValueError, match=sentence):
            load_adapter(network, 1, tmp_path)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
