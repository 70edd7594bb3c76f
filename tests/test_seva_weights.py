"""Weight files into the network: prefixes, adapters found by themselves, sentences on what does not fit."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from test_seva import TINY, filled, inputs
from torch.testing import assert_close

from onescene.models.seva import SevaUNet
from onescene.models.seva.weights import add_adapters, load_seva, own_keys

DUAL = replace(TINY, transformer_depth=(1, 1), lora_rank=2)
MASK = torch.tensor([1.0, 0.0, 1.0])


@torch.no_grad()
def test_a_released_checkpoint_is_read_behind_its_prefix(tmp_path):
    network = filled(DUAL)
    state = {f"MODEL.module.{k}": v for k, v in network.state_dict().items()}
    beside = {"SEVA_CONDITIONER.x": torch.zeros(2), "first_stage_model.y": torch.zeros(2)}
    torch.save({"state_dict": state | beside}, tmp_path / "denoise.ckpt")
    found = load_seva(tmp_path / "denoise.ckpt", replace(DUAL, lora_rank=0))
    assert found.config == DUAL and not found.training
    assert_close(found(*inputs(DUAL), MASK), network(*inputs(DUAL), MASK), atol=0, rtol=0)


def test_a_plain_file_keeps_its_precision(tmp_path):
    save_file({k: v.half() for k, v in filled(TINY).state_dict().items()}, tmp_path / "model.safetensors")
    found = load_seva(tmp_path / "model.safetensors", TINY)
    assert found.config.lora_rank == 0
    assert {p.dtype for p in found.parameters()} == {torch.float16}


def test_what_does_not_fit_is_named(tmp_path):
    state = SevaUNet(TINY).state_dict()
    with pytest.raises(ValueError, match=r"must hold one SEVA network .*, found 0"):
        own_keys({"encoder.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="found 2"):
        own_keys({f"{p}.input_blocks.0.0.weight": torch.zeros(1) for p in "ab"})
    save_file({k: v for k, v in state.items() if k != "out.2.bias"}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"1 missing \(first: out.2.bias\)"):
        load_seva(tmp_path / "a.safetensors", TINY)
    save_file(state | {"out.2.bias": torch.zeros(5)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"1 wrong shape \(first: out.2.bias: file \(5,\), network \(4,\)\)"):
        load_seva(tmp_path / "b.safetensors", TINY)


@torch.no_grad()
def test_fresh_adapters_leave_the_answer_as_it_was():
    plain = filled(replace(DUAL, lora_rank=0))
    dual = add_adapters(plain, rank=3)
    assert (dual.config.lora_rank, dual.config.lora_alpha) == (3, 4)
    assert_close(dual(*inputs(DUAL)), plain(*inputs(DUAL)), atol=1e-5, rtol=1e-4)
    assert dual.out[2].weight.data_ptr() == plain.out[2].weight.data_ptr()
    assert {".lora_" in k for k, p in dual.named_parameters() if p.requires_grad} == {True}
    assert all(p.requires_grad for k, p in dual.named_parameters() if ".lora_" in k)
    assert all(p.requires_grad for p in plain.parameters())
    twice = dual.double()(*(part.double() for part in inputs(DUAL)), MASK)  # one key per frame, all alike
    assert_close(twice, filled(replace(DUAL, lora_rank=0)).double()(*(p.double() for p in inputs(DUAL))))
    with pytest.raises(ValueError, match="without adapters and rank >= 1, got 3 and 8"):
        add_adapters(dual)
