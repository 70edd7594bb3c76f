"""SEVA, the multi-view diffusion U-Net, with or without Dual-LoRA: network, noise, guidance, conditions, chunks.

Owns what stands between latents, cameras and image embeddings on one side and denoised latents on the other. The
auto-encoder, the image encoder and the scaffold's renders belong to whoever calls.
"""

from onescene.models.seva.config import PAPER, RELEASE, SMALL, SevaConfig
from onescene.models.seva.network import SevaUNet

__all__ = ["PAPER", "RELEASE", "SMALL", "SevaConfig", "SevaUNet"]
