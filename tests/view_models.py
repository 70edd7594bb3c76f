"""Tiny networks with random weights for novel views, and folders of them as a user would bring."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from onescene.models.seva import SevaConfig, SevaUNet
from onescene.models.seva.adapter_files import adapter_files
from onescene.models.seva.bundle import Manifest, ViewModels
from onescene.models.seva.encoders import LinearAutoencoder, ThumbnailEncoder

NETWORK = {
    **{"model_channels": 32, "channel_mult": (1, 2), "num_res_blocks": 1, "attention_resolutions": (2,)},
    **{"num_head_channels": 16, "transformer_depth": (1, 1), "context_dim": 12},
    "unflatten_names": ("middle_ds2", "output_ds2"),
}
TINY = SevaConfig(**NETWORK)
MANIFEST = Manifest(frame_px=32, steps=2, targets=3, clean=3)


def random_unet(config: SevaConfig, seed: int = 0) -> SevaUNet:
    """A network in which every parameter matters."""
    torch.manual_seed(seed)
    network = SevaUNet(config)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape) * (0.1 if p.ndim == 1 else p[0].numel() ** -0.5))
    return network.eval()


def tiny_models(rank: int = 2, channels: int = 4, in_channels: int = 11, manifest: Manifest = MANIFEST) -> ViewModels:
    """A random U-Net between a linear auto-encoder and thumbnails."""
    config = replace(TINY, lora_rank=rank, in_channels=in_channels, out_channels=channels)
    autoencoder = LinearAutoencoder(8, channels).fit(
        torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    )
    return ViewModels(random_unet(config), autoencoder, ThumbnailEncoder(12), manifest)


def official_folder(folder: Path, rank: int = 0, **manifest) -> Path:
    """A folder laid out as the public files are: U-Net, diffusers VAE, transformers CLIP, all tiny and random."""
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder.mkdir(parents=True)
    network = random_unet(replace(TINY, lora_rank=rank))
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors")
    torch.manual_seed(3)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae = AutoencoderKL(block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=4, **blocks)
    vae.save_pretrained(folder / "vae")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    clip = CLIPVisionConfig(**sizes, image_size=28, patch_size=14, projection_dim=12)
    CLIPVisionModelWithProjection(clip).save_pretrained(folder / "image_encoder")
    sizes = {"frame_px": 32, "steps": 1, "targets": 3, "clean": 3, "network": NETWORK}
    (folder / "views.json").write_text(json.dumps(sizes | manifest))
    return folder


def write_adapters(network: SevaUNet, folder: Path) -> list[str]:
    """PEFT folders of both adapters; returns their names."""
    for which, name in ((1, "clean"), (2, "rendered")):
        (folder / name).mkdir(parents=True)
        for file, content in adapter_files(network, which).items():
            (folder / name / file).write_bytes(content)
    return ["clean", "rendered"]
