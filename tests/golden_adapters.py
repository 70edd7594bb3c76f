"""One function per official architecture: stored inputs in, tensors under the golden file's field names out."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from onescene.geometry.plucker import plucker_maps
from onescene.models.one2scene_release import ReleaseConfig, ReleaseScaffold
from onescene.models.seva import SevaConfig, SevaUNet
from onescene.models.seva_schedule import schedule_indices, sigma_schedule, sigma_table
from onescene.models.vggt import VGGT, VGGTConfig


def seva_sigmas(steps: int) -> dict[str, Tensor]:
    """SEVA's noise schedule of ``steps`` steps, under the stored name of that schedule and as plain ``sigmas``."""
    sigmas, timesteps = sigma_schedule(steps), schedule_indices(steps)
    return {
        f"sigmas_{steps}": sigmas,
        f"timesteps_{steps}": timesteps,
        "sigma_table": sigma_table(),
        "sigmas": sigmas,
        "timesteps": timesteps,
    }


def seva_plucker(world_from_cam: Tensor, K_normalised: Tensor, hw: tuple[int, int]) -> dict[str, Tensor]:
    """SEVA's ray maps relative to camera 0, in both modes, under the plain names and those that name the size."""
    height, width = (int(size) for size in hw)
    maps = {
        "plucker_rel_true": plucker_maps(world_from_cam, K_normalised, (height, width)),
        "plucker_rel_false": plucker_maps(world_from_cam, K_normalised, (height, width), keep_source_translation=False),
    }
    return maps | {f"{name}_{height}x{width}": value for name, value in maps.items()}


def vggt(config: dict, weights: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """VGGT at the sizes of a golden file: first and last tokens, depth with its confidence, cameras."""
    known = {field.name for field in fields(VGGTConfig)}
    sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in known and v is not None}
    network = VGGT(VGGTConfig(**sizes)).eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        tokens, prediction = network.aggregator(images, (0, network.config.depth - 1)), network(images)
    return {
        "tokens_first": tokens[0],
        "tokens_last": tokens[1],
        "depth": prediction.depth_z[..., None],
        "depth_conf": prediction.confidence,
        "pose_enc": prediction.pose_encoding,
    }


@torch.no_grad()
def seva(config: dict, weights: dict[str, Tensor], x: Tensor, t: Tensor, context: Tensor, dense: Tensor):
    """SEVA's multi-view U-Net."""
    network = _seva_network(SevaConfig.from_official({**config, "lora_rank": 0}), weights)
    return {"out": network(x, t, context, dense)}


@torch.no_grad()
def dual_lora(
    config: dict,
    weights: dict[str, Tensor],
    x: Tensor,
    t: Tensor,
    context: Tensor,
    dense: Tensor,
    source_view_mask: Tensor,
) -> dict[str, Tensor]:
    """One2Scene's denoiser: with the mask given, with ones, with zeros, and without adapters."""
    network = _seva_network(SevaConfig.from_official({"lora_rank": 8, **config}), weights)
    ones, zeros = torch.ones_like(source_view_mask), torch.zeros_like(source_view_mask)
    masks = {"out": source_view_mask, "out_all_source": ones, "out_all_target": zeros, "out_adapters_off": None}
    return {name: network(x, t, context, dense, mask) for name, mask in masks.items()}


def _seva_network(config: SevaConfig, weights: dict[str, Tensor]) -> SevaUNet:
    with torch.device("meta"):
        network = SevaUNet(config)
    network.load_state_dict(weights, assign=True)
    return network.eval()


@torch.no_grad()
def one2scene_scaffold(
    config: dict, weights: dict[str, Tensor], images: Tensor, intrinsics: Tensor, extrinsics: Tensor
) -> dict[str, Tensor]:
    """The release's scaffold: tokens, distance, every Gaussian of the first scene in the order face, row, column."""
    known = {field.name for field in fields(ReleaseConfig)}
    network = ReleaseScaffold(ReleaseConfig(**{k: v for k, v in config.items() if k in known})).eval()
    network.load_state_dict(weights)
    tokens = network.backbone(images * 2 - 1)
    found = network(images, intrinsics, extrinsics)
    raw, gaussians = found.gaussian_raw[0].flatten(0, 2), found.gaussians
    return {
        "tokens_encoder": tokens[0],
        "tokens_dec_first": tokens[1],
        "tokens_dec_last": tokens[-1],
        "depth": found.distance,
        "regression_raw": found.regression_raw[0].flatten(0, 2),
        "raw": raw,
        "raw_channel_mean": raw.double().mean(0),
        "raw_channel_std": raw.double().std(0, correction=0),
        "means": gaussians.means[0],
        "opacities": gaussians.opacities[0],
        "scales": gaussians.scales[0],
        "quaternions": gaussians.quats_xyzw_cam[0],
        "sh": gaussians.sh_cam[0],
        "covariances": gaussians.covariances[0],
    }
