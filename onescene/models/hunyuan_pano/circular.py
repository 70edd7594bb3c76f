"""What makes a latent diffusion model circular: ends that overlap and are blended, and a decoder around the circle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def extend_columns(x: Float[Tensor, "*batch height width"], overlap: int) -> Float[Tensor, "*batch height wider"]:
    """Appends the first ``overlap`` columns at the right end: both ends now show the same longitudes."""
    return torch.cat((x, x[..., :overlap]), dim=-1)


def blend_columns(x: Float[Tensor, "*batch height wider"], overlap: int) -> Float[Tensor, "*batch height wider"]:
    """Makes the two copies of the shared columns equal again: the right end's copy fades into the left end's.

    Column k of n has the weight (k + 1/2) / n of the left copy: next to the right end's own columns its continuation
    counts, next to the left end's own columns the left one.
    """
    if overlap == 0:
        return x
    left, right = x[..., :overlap], x[..., -overlap:]
    weight = (torch.arange(overlap, device=x.device, dtype=torch.float32) + 0.5) / overlap
    shared = (right.float() + (left.float() - right.float()) * weight).to(x.dtype)
    return torch.cat((shared, x[..., overlap:-overlap], shared), dim=-1)


def crop_columns(x: Float[Tensor, "*batch height wider"], overlap: int) -> Float[Tensor, "*batch height width"]:
    """Leaves the right end's copy of the shared columns out."""
    return x[..., : x.shape[-1] - overlap]


def _around(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution with columns padded around the circle, and rows as always."""
    rows, columns = conv.padding
    x = F.pad(x, (columns, columns, 0, 0), mode="circular")
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, (rows, 0), conv.dilation, conv.groups)


@contextmanager
def circular_convolutions(network: nn.Module) -> Iterator[None]:
    """Within it, every padded convolution of a network takes its left and right neighbours from around the circle.

    Normalisation and attention without positions know no place, so a decoder made of these turns with its input:
    decoding turned latents gives the turned image, exactly, and there is no place for a seam.
    """
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.padding[1] > 0]
    try:
        for conv in convolutions:
            conv.forward = partial(_around, conv)
        yield
    finally:
        for conv in convolutions:
            del conv.forward


def padded_decode(decode, latents: Float[Tensor, "b c h w"], columns: int, factor: int) -> Float[Tensor, "b 3 h2 w2"]:
    """The release's way: decodes latents with some columns of the other end on both sides, and cuts those off.

    Args:
        decode: Latents to images.
        columns: How many, each side.
        factor: Pixels per latent.
    """
    wider = torch.cat((latents[..., -columns:], latents, latents[..., :columns]), dim=-1)
    return decode(wider)[..., columns * factor : -columns * factor]
