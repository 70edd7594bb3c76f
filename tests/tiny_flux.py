"""A folder of FLUX.1 and a panorama LoRA in miniature: random weights, the public layout, made in a second."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

HEIGHT_PX = 64  # that the miniature draws at: 32 latent rows, 16 tokens
RANK = 2


def make_weights(folder: Path, text: bool = False, lora: float = 0.5) -> Path:
    """Writes the folder of ``hunyuan`` (or ``hunyuan-text``); ``lora`` is the size of the LoRA's values."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    base = folder / ("FLUX.1-dev" if text else "FLUX.1-Fill-dev")
    adapter = folder / f"HunyuanWorld-PanoDiT-{'Text' if text else 'Image'}"
    torch.manual_seed(0)  # the libraries below draw from the global generator alone
    make_transformer(16 if text else 48).save_pretrained(base / "transformer")
    make_autoencoder().save_pretrained(base / "vae")
    FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0).save_pretrained(base / "scheduler")
    make_text_encoders(base)
    adapter.mkdir(parents=True)
    layer, generator = "single_transformer_blocks.0.attn.to_q", torch.Generator().manual_seed(1)
    shapes = {"lora_A": (RANK, 32), "lora_B": (32, RANK)}
    tensors = {f"transformer.{layer}.{k}.weight": lora * torch.randn(s, generator=generator) for k, s in shapes.items()}
    save_file(tensors, adapter / "lora.safetensors")
    return folder


def make_transformer(in_channels: int):
    """FLUX's transformer: one block of each kind, 32 channels."""
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=in_channels,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )


def make_autoencoder():
    """FLUX's auto-encoder: 4 channels, 2 pixels per latent."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def make_text_encoders(base: Path) -> None:
    """CLIP and T5 with their tokenizers: every byte is a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

    letters = [chr(k) for k in range(33, 127)]
    (base / "tokenizer").mkdir(parents=True, exist_ok=True)
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    clip = CLIPTokenizer(vocab={word: k for k, word in enumerate(words)}, merges=[], model_max_length=77)
    clip.save_pretrained(base / "tokenizer")
    size = len(words)
    config = CLIPTextConfig(
        vocab_size=size, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        eos_token_id=size - 1, bos_token_id=size - 2,
    )  # fmt: skip
    CLIPTextModel(config).save_pretrained(base / "text_encoder")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((c, -1.0) for c in ["▁", *letters])]
    unigram = Tokenizer(models.Unigram(pieces, unk_id=2))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    T5TokenizerFast(tokenizer_object=unigram, extra_ids=0).save_pretrained(base / "tokenizer_2")
    T5EncoderModel(
        T5Config(vocab_size=len(pieces), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    ).save_pretrained(base / "text_encoder_2")
