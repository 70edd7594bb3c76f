"""Multi-view guidance of SEVA: how far each frame is pushed from its unconditional prediction."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.plucker import camera_distance

MINIMAL_SCALE = 1.2  # SEVA's for frames that only have to repeat an input
_SAME_ROTATION_DEG, _SAME_PLACE = 10.0, 1e-5  # what SEVA takes for the same camera


def multiview_scales(
    scale: float | Float[Tensor, " frames"],
    world_from_cam: Float[Tensor, "frames 4 4"],
    K_normalised: Float[Tensor, "frames 3 3"],
    input_frames: Bool[Tensor, " frames"],
    minimal: float = MINIMAL_SCALE,
) -> Float[Tensor, " frames"]:
    """Guidance scale per frame: ``scale``, but ``minimal`` where a frame's camera is that of an input.

    Args:
        scale: Scale of frames that show something new.
        world_from_cam: Cameras as the network is given them.
        K_normalised: Their intrinsics.
        input_frames: Which frames are inputs.
        minimal: Scale of frames that repeat an input.
    """
    rotation_deg, distance = camera_distance(world_from_cam, world_from_cam[input_frames])
    same_lens = (K_normalised[:, None] == K_normalised[input_frames]).all(-1).all(-1)
    repeats = ((rotation_deg < _SAME_ROTATION_DEG) & (distance < _SAME_PLACE) & same_lens).any(dim=1)
    scales = torch.as_tensor(scale, dtype=world_from_cam.dtype, device=world_from_cam.device)
    return torch.where(repeats, torch.full_like(scales, minimal), scales)


def temporal_scales(
    scale: float,
    world_from_cam: Float[Tensor, "frames 4 4"],
    K_normalised: Float[Tensor, "frames 3 3"],
    input_frames: Bool[Tensor, " frames"],
    minimal: float = MINIMAL_SCALE,
) -> Float[Tensor, " frames"]:
    """Guidance scale per frame: from ``minimal`` at inputs to ``scale`` at the frame farthest from one in time.

    Args: as :func:`multiview_scales`, whose rule is applied afterwards.

    Raises:
        ValueError: no frame is an input.
    """
    inputs = input_frames.nonzero()[:, 0]
    if len(inputs) == 0:
        raise ValueError("input_frames must name at least one frame, got none")
    frames = torch.arange(len(input_frames), device=inputs.device)
    away = (frames[:, None] - inputs).abs().amin(dim=1).to(world_from_cam)
    graded = minimal + (scale - minimal) * away / away.amax().clamp(min=1)
    return multiview_scales(graded, world_from_cam, K_normalised, input_frames, minimal)


def guide(
    unconditional: Float[Tensor, "frames c h w"],
    conditional: Float[Tensor, "frames c h w"],
    scales: Float[Tensor, " frames"],
) -> Float[Tensor, "frames c h w"]:
    """u + scale (c - u), per frame."""
    return unconditional + scales[:, None, None, None] * (conditional - unconditional)
