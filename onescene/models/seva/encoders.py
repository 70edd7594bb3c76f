"""The two networks beside SEVA's U-Net: images to latents and back, and images to one embedding each.

``paper``: the auto-encoder of Stable Diffusion 2.1 through diffusers and OpenCLIP's ViT-H/14 through transformers,
from local folders; nothing is fetched. ``small``: a fixed linear auto-encoder and a thumbnail, which need no training
and next to no time.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

CLIP_PX = 224
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenAI's


class Autoencoder(Protocol):
    """Images [v, 3, H, W] in [0, 1] to latents [v, channels, H / factor, W / factor] and back."""

    factor: int
    channels: int

    def encode(self, rgb: Float[Tensor, "v 3 height width"]) -> Float[Tensor, "v c h w"]: ...

    def decode(self, latents: Float[Tensor, "v c h w"]) -> Float[Tensor, "v 3 height width"]: ...


class ImageEncoder(Protocol):
    """Images [v, 3, H, W] in [0, 1] to embeddings [v, dim]."""

    dim: int

    def embed(self, rgb: Float[Tensor, "v 3 height width"]) -> Float[Tensor, "v d"]: ...


def _one_by_one(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Image after image, so that the memory does not grow with their number."""
    return torch.cat([function(image) for image in images.split(1)])


class KLAutoencoder(nn.Module):
    """Stable Diffusion's auto-encoder as SEVA uses it: the mean of the latent, scaled, nothing drawn at random.

    Args:
        network: A diffusers ``AutoencoderKL``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.factor = 2 ** (len(network.config.block_out_channels) - 1)
        self.channels = network.config.latent_channels
        self.scale = network.config.scaling_factor  # 0.18215 in SD 2.1

    @property
    def _like(self) -> Tensor:
        return next(self.network.parameters())

    @torch.no_grad()
    def encode(self, rgb: Float[Tensor, "v 3 height width"]) -> Float[Tensor, "v c h w"]:
        """Scaled means."""
        return (
            _one_by_one(lambda x: self.network.encode(x).latent_dist.mean, 2 * rgb.to(self._like) - 1).float()
            * self.scale
        )

    def decode(self, latents: Float[Tensor, "v c h w"]) -> Float[Tensor, "v 3 height width"]:
        """Images in [0, 1]."""
        decoded = _one_by_one(lambda z: self.network.decode(z).sample, latents.to(self._like) / self.scale)
        return (decoded.float() / 2 + 0.5).clamp(0, 1)


class ClipImageEncoder(nn.Module):
    """CLIP's image embedding as SEVA's conditioner makes it.

    Args:
        network: A transformers ``CLIPVisionModelWithProjection``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.dim = network, network.config.projection_dim
        self.px = network.config.image_size

    @torch.no_grad()
    def embed(self, rgb: Float[Tensor, "v 3 height width"]) -> Float[Tensor, "v d"]:
        """Projected embeddings, not normalised."""
        like = next(self.network.parameters())
        mean, std = (torch.tensor(values).to(rgb)[:, None, None] for values in (_CLIP_MEAN, _CLIP_STD))
        seen = (shrink_for_clip(rgb, self.px) - mean) / std
        return _one_by_one(lambda x: self.network(pixel_values=x).image_embeds, seen.to(like)).float()


def shrink_for_clip(rgb: Float[Tensor, "v 3 height width"], px: int = CLIP_PX) -> Float[Tensor, "v 3 px px"]:
    """Resizes as SEVA does: a Gaussian blur of sigma (factor - 1) / 2, then bicubic with aligned corners."""
    for axis in (-2, -1):
        sigma = max((rgb.shape[axis] / px - 1) / 2, 1e-3)
        reach = max(int(4 * sigma), 3) // 2
        taps = torch.exp(-((torch.arange(-reach, reach + 1).to(rgb) / sigma) ** 2) / 2)
        kernel = (
            (taps / taps.sum()).expand(3, 1, -1)[..., None] if axis == -2 else (taps / taps.sum()).expand(3, 1, 1, -1)
        )
        around = (0, 0, reach, reach) if axis == -2 else (reach, reach, 0, 0)
        rgb = F.conv2d(F.pad(rgb, around, mode="reflect"), kernel, groups=3)
    return F.interpolate(rgb, (px, px), mode="bicubic", align_corners=True)


class LinearAutoencoder(nn.Module):
    """Every block of pixels is projected onto a few fixed patterns: no non-linearity, nothing to run but one matrix.

    Args:
        factor: Side of a block [pixels].
        channels: Number of patterns kept.
    """

    def __init__(self, factor: int = 8, channels: int = 16) -> None:
        super().__init__()
        if not 1 <= channels <= 3 * factor * factor:
            raise ValueError(f"channels must be from 1 to {3 * factor * factor}, got {channels}")
        self.factor, self.channels = factor, channels
        self.register_buffer("mean", torch.full((3 * factor * factor,), 0.5))
        self.register_buffer("patterns", torch.eye(channels, 3 * factor * factor))
        self.register_buffer("spread", torch.ones(channels))

    @torch.no_grad()
    def fit(self, rgb: Float[Tensor, "v 3 height width"]) -> LinearAutoencoder:
        """Takes the principal components of the images' blocks, each latent channel with variance 1."""
        blocks = F.pixel_unshuffle(rgb.double(), self.factor).movedim(1, -1).flatten(0, -2)
        self.mean.copy_(blocks.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(blocks.T))
        order = values.argsort(descending=True)[: self.channels]
        self.patterns.copy_(vectors[:, order].T)
        self.spread.copy_(values[order].clamp_min(1e-8).sqrt())
        return self

    def encode(self, rgb: Float[Tensor, "v 3 height width"]) -> Float[Tensor, "v c h w"]:
        """Coefficients of each block, of variance 1 on what it was fitted to."""
        blocks = F.pixel_unshuffle(rgb, self.factor) - self.mean[:, None, None]
        return F.conv2d(blocks, (self.patterns / self.spread[:, None])[..., None, None])

    def decode(self, latents: Float[Tensor, "v c h w"]) -> Float[Tensor, "v 3 height width"]:
        """Images in [0, 1]; inside that range the projection of the image that was encoded."""
        blocks = F.conv2d(latents, (self.patterns * self.spread[:, None]).T[..., None, None])
        return F.pixel_shuffle(blocks + self.mean[:, None, None], self.factor).clamp(0, 1)


class ThumbnailEncoder(nn.Module):
    """An embedding without weights: the image at a few pixels, centred; says what light and colours a scene has.

    Args:
        dim: Length of the embedding, a multiple of 3 times a square.
    """

    def __init__(self, dim: int = 48) -> None:
        super().__init__()
        self.dim, self.px = dim, round((dim / 3) ** 0.5)
        if dim < 3 or 3 * self.px**2 != dim:
            raise ValueError(f"dim must be 3 times a square, such as 48, got {dim}")

    def embed(self, rgb: Float[Tensor, "v 3 height width"]) -> Float[Tensor, "v d"]:
        """Mean colours of ``px`` x ``px`` fields, in [-1, 1]."""
        return 2 * F.adaptive_avg_pool2d(rgb, self.px).flatten(1) - 1


def load_kl_autoencoder(folder: str | Path) -> KLAutoencoder:
    """Stable Diffusion's auto-encoder from a diffusers folder (config.json, diffusion_pytorch_model.safetensors)."""
    from diffusers import AutoencoderKL

    return KLAutoencoder(_loaded(AutoencoderKL, Path(folder)))


def load_clip(folder: str | Path) -> ClipImageEncoder:
    """CLIP's image half from a transformers folder (config.json, model.safetensors); its text half is left out.

    Raises:
        ValueError: transformers is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ValueError("the CLIP image encoder needs its package: pip install 'onescene[paper]'")
    from transformers import CLIPVisionModelWithProjection

    return ClipImageEncoder(_loaded(CLIPVisionModelWithProjection, Path(folder)))


def _loaded(kind: type, folder: Path) -> nn.Module:
    """A network of a local folder, in its own precision and evaluation mode; safetensors only, never the network."""
    try:
        return kind.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval().requires_grad_(False)
    except Exception as error:  # both libraries have many of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{folder} must hold a {kind.__name__}, but it does not load: {reason}") from error
