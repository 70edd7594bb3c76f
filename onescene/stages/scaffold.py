"""Scaffold: a panorama becomes distance, sky and Gaussians in one feed-forward pass (Sec. 3.2 of One2Scene).

panorama [0, 1] -> faces at the network's size -> log distance [log m], sky (of turned copies, averaged)
    -> joint bilateral upsampling, crisp depth edges -> distance [world units] -> one Gaussian per face pixel,
       or per block of them where the picture is smooth

Networks with heads for Gaussians give their own instead, in a single pass: offset, opacity, covariance and colour as
predicted, the scene scaled as a whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.geometry.cubemap import faces_from_panorama, panorama_from_faces
from onescene.geometry.equirect import check_panorama_hw
from onescene.metrics import latitude_weights
from onescene.models.scaffold.density import choose_blocks, lift_blocks
from onescene.models.scaffold.lift import LiftConfig
from onescene.models.scaffold.upsample import joint_bilateral_upsample, resize_panorama, sharpen_edges
from onescene.models.scaffolds import ScaffoldNetwork, Seen, as_scaffold
from onescene.stages.anchors import AnchorsConfig
from onescene.stages.anchors import run as cut_anchors
from onescene.stages.colours import match_colours
from onescene.types import Gaussians

DISTANCE_MAX_HEIGHT = 512  # rows of the distance map at most [pixels]
_NO_SKY = -20.0  # a logit
_GREY_GAMMA = 0.7  # of the copies without colour
Source = Literal["auto", "heads", "lifted"]
SOURCES: tuple[Source, ...] = get_args(Source)
"""Where Gaussians come from: the network's heads, its distance lifted; ``auto``: heads where it has any."""


@dataclass(frozen=True)
class ScaffoldConfig:
    """How a scaffold is made."""

    face_px: int = 256  # side of an anchor
    most_gaussians: int | None = None  # lifted, 2x2 or 4x4 smooth pixels sharing one; None = one each
    fov_deg: float = 95.0  # field of view of an anchor [degrees]; the network sees faces of its own
    network_px: int | None = None  # side of the faces that the network sees [pixels]; None = what its weights are for
    source: Source = "auto"  # of the Gaussians
    turns: int = 4  # copies turned by 90 / turns degrees, whose predictions are averaged
    mirror: bool = True  # average with the mirrored panorama too
    grey: bool = True  # the mirrored copies are shown brighter and without colour: shape, not hue, tells the distance
    median_distance: float = 2.0  # the scene is scaled so that its median distance is this [world units]
    sky_threshold: float = 0.7  # a pixel is sky above this probability: ground far away is worse than sky nearby
    least_sky: float = 0.01  # of the sphere, to be believed: less is a lamp (seen: up to 0.3 %, skies from 22 %)
    sky_factor: float = 1.5  # sky stands this many times beyond the 99th percentile of the ground
    sky_medians: float = 5.0  # and at least this many median distances away
    edge_threshold: float = 0.25  # log range that counts as a depth edge
    colour_steps: int = 3  # rounds of matching the colours to the anchors; more are sharper and worse when moved
    lift: LiftConfig = field(default_factory=LiftConfig)


@dataclass(frozen=True)
class ScaffoldOutput:
    """The geometric scaffold.

    Attributes:
        gaussians: One per owned pixel of the anchors (or per block of them, see ``models/scaffold/density.py``), or one
            per pixel of the network's faces [world units].
        distance: Along each panorama ray [world units]; the sky has a large, finite value.
        sky: Probability that a panorama pixel is sky.
        faces: The anchors that gave the colours.
        face_distance: Distance at every face pixel [world units].
        metres_per_unit: What the network believes one world unit to be [m]; scale from one image is a guess.
        source: ``heads`` or ``lifted``.
    """

    gaussians: Gaussians
    distance: Float[Tensor, "height width"]
    sky: Float[Tensor, "height width"]
    faces: Float[Tensor, "6 3 face face"]
    face_distance: Float[Tensor, "6 face face"]
    metres_per_unit: float
    source: Source = "lifted"


def _look(panorama: Float[Tensor, "3 height width"], network: ScaffoldNetwork, size: int) -> Seen:
    """One pass over a panorama's faces, cut as the weights are used to."""
    return network.see(faces_from_panorama(panorama, size, network.fov_deg, grid=network.grid))


@torch.no_grad()
def predict_distance(
    panorama: Float[Tensor, "3 height width"],
    network: nn.Module | ScaffoldNetwork,
    config: ScaffoldConfig = ScaffoldConfig(),
    progress: Callable[[float], None] | None = None,
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Log distance [log m] and sky probability on a panorama of (network_px, 2 network_px) pixels.

    The panorama is turned by whole columns so that face borders fall elsewhere in every copy, and what comes of them is
    turned back and averaged: their sky, and of their distance what :func:`nearer_mean` believes.
    """
    network = as_scaffold(network)
    size = config.network_px or network.face_px
    small = resize_panorama(panorama, (2 * size, 4 * size))
    views = [(k, m) for k in range(config.turns) for m in ((False, True) if config.mirror else (False,))]
    logs, sky_sum = [], 0.0
    for done, (k, mirrored) in enumerate(views):
        shift = 2 * round(k * size / 2 / config.turns)  # 4 size columns are 360 degrees: a quarter turn is size
        turned = small.roll(shift, dims=-1)
        turned = turned.flip(-1) if mirrored else turned
        turned = _bright_grey(turned) if mirrored and config.grey else turned
        seen = _look(turned, network, size)
        maps = torch.stack((seen.log_distance, _sky_of(seen.sky_logit, seen.log_distance)))
        maps = (maps.flip(-1) if mirrored else maps).roll(-shift // 2, dims=-1)
        logs.append(maps[0])
        sky_sum = sky_sum + maps[1]
        if progress:
            progress((done + 1) / len(views))
    return nearer_mean(torch.stack(logs)), torch.sigmoid(sky_sum / len(views))


def nearer_mean(copies: Float[Tensor, "n h w"]) -> Float[Tensor, "h w"]:
    """Mean of each pixel's copies without the nearest eighth and the farthest three: an opening is easily made up.

    Chosen on validation data, where it gives 0.159, 0.139 and 0.111 AbsRel (arenas, UFO's maps, homes) instead of the
    mean's 0.159, 0.142 and 0.112, and 0.802, 0.791 and 0.877 delta1 instead of 0.795, 0.782 and 0.878.
    """
    near, far = len(copies) // 8, 3 * len(copies) // 8
    return copies.sort(dim=0).values[near : len(copies) - far].mean(0)


def _bright_grey(panorama: Float[Tensor, "3 h w"]) -> Tensor:
    """Without colour, as exposed for the shadows."""
    return (panorama**_GREY_GAMMA).mean(0, keepdim=True).expand(3, -1, -1)


def _sky_of(logit: Tensor | None, like: Tensor) -> Tensor:
    """The sky's logit; a network that knows no sky sees none."""
    return torch.full_like(like, _NO_SKY) if logit is None else logit


def believed_sky(sky: Float[Tensor, "h w"], config: ScaffoldConfig) -> Float[Tensor, "h w"]:
    """The probability of sky, zero everywhere where less than ``least_sky`` of the sphere would be sky."""
    area = latitude_weights(tuple(sky.shape), device=sky.device)
    share = float((area * (sky >= config.sky_threshold)).sum() / area.sum())
    return sky if share >= config.least_sky else torch.zeros_like(sky)


def place_sky(
    distance: Float[Tensor, "h w"], sky: Float[Tensor, "h w"], config: ScaffoldConfig
) -> tuple[Float[Tensor, "h w"], float]:
    """Scales the ground to the wanted median and moves the sky far away; returns it with metres per unit."""
    is_sky = sky >= config.sky_threshold
    ground = distance[~is_sky]
    ground = ground if ground.numel() >= distance.numel() // 100 else distance.flatten()
    scale = float(ground.median()) / config.median_distance
    far = float(ground.quantile(0.99)) / scale if ground.numel() < 16_000_000 else float(ground.max()) / scale
    far = max(config.sky_factor * far, config.sky_medians * config.median_distance)
    return torch.where(is_sky, torch.full_like(distance, far), distance / scale), scale


def face_distance_from_panorama(
    distance: Float[Tensor, "h w"], face_px: int, fov_deg: float, edge_ratio: float
) -> Float[Tensor, "6 face face"]:
    """E2C of a distance map that does not mix the two sides of a depth edge: bilinear on surfaces, nearest at edges."""
    log_distance = distance.log()[None]
    smooth = faces_from_panorama(log_distance, face_px, fov_deg)[:, 0]
    nearest = faces_from_panorama(log_distance, face_px, fov_deg, mode="nearest")[:, 0]
    at_edge = (smooth - nearest).abs() > torch.tensor(edge_ratio).log() / 2
    return torch.where(at_edge, nearest, smooth).exp()


@torch.no_grad()
def run(
    panorama: Float[Tensor, "3 height width"],
    network: nn.Module | ScaffoldNetwork,
    config: ScaffoldConfig = ScaffoldConfig(),
    progress: Callable[[float], None] | None = None,
) -> ScaffoldOutput:
    """Makes the scaffold of a panorama.

    Args:
        panorama: RGB in [0, 1], width twice the height.
        network: A scaffold network with its weights (see :mod:`onescene.models.scaffolds`).
        config: Sizes and options.
        progress: Called with the share that is done, in [0, 1].

    Raises:
        ValueError: the panorama is not 2:1 or not finite, a setting is out of range, or heads are asked of a network
            that has none.
    """
    network = as_scaffold(network)
    fine_hw = _check(panorama, network, config)
    if config.source == "heads" or (config.source == "auto" and network.has_gaussians):
        return _from_heads(panorama, network, config, fine_hw)
    coarse_log, coarse_sky = predict_distance(panorama, network, config, progress)
    guide = resize_panorama(panorama, fine_hw)
    fine = joint_bilateral_upsample(torch.stack((coarse_log, coarse_sky)), guide)
    radius = max(1, round(fine_hw[0] / coarse_log.shape[0]))  # one coarse pixel
    distance = sharpen_edges(fine[0], radius=radius, threshold=config.edge_threshold).exp()
    sky = believed_sky(fine[1], config)
    distance, scale = place_sky(distance, sky, config)
    return lift_panorama(panorama, distance, sky, config, metres_per_unit=scale)


def _check(panorama: Tensor, network: ScaffoldNetwork, config: ScaffoldConfig) -> tuple[int, int]:
    """Refuses what can not be worked on; returns the size of the distance map."""
    height, width = check_panorama_hw(tuple(panorama.shape[-2:]), "panorama's size")
    if not bool(torch.isfinite(panorama).all()):
        raise ValueError("panorama must be finite, got NaN or infinity")
    size = config.network_px or network.face_px
    if size < network.side_px or size % network.side_px:
        raise ValueError(f"network_px must be a multiple of {network.side_px}, got {size}")
    if config.turns < 1:
        raise ValueError(f"turns must be >= 1, got {config.turns}")
    if config.most_gaussians is not None and config.most_gaussians < 1:
        raise ValueError(f"most_gaussians must be >= 1, got {config.most_gaussians}")
    if config.source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {config.source!r}")
    if config.source == "heads" and not network.has_gaussians:
        kind = type(network.network).__name__
        raise ValueError(f"source heads needs trained heads for Gaussians, this {kind} has none; use lifted")
    if abs(config.fov_deg - network.fov_deg) > 0.01:
        warnings.warn(
            f"fov_deg is {config.fov_deg:g}, the weights are for {network.fov_deg:g}: the anchors have the former, "
            "the network sees faces of the latter",
            stacklevel=3,
        )
    return min(height, DISTANCE_MAX_HEIGHT), min(width, 2 * DISTANCE_MAX_HEIGHT)


def _from_heads(
    panorama: Tensor, network: ScaffoldNetwork, config: ScaffoldConfig, fine_hw: tuple[int, int]
) -> ScaffoldOutput:
    """The network's own Gaussians, the scene scaled as a whole, its sky moved far away."""
    size = config.network_px or network.face_px
    seen = _look(resize_panorama(panorama, (2 * size, 4 * size)), network, size)
    face_sky = _sky_of(seen.face_sky_logit, seen.face_log_distance)
    maps = torch.stack((seen.face_log_distance, face_sky), dim=1)
    log_distance, sky = panorama_from_faces(maps, fine_hw, network.fov_deg)
    sky = believed_sky(sky.sigmoid(), config)
    distance, scale = place_sky(log_distance.exp(), sky, config)
    far = float(distance[sky >= config.sky_threshold].max()) if bool((sky >= config.sky_threshold).any()) else None
    factor = torch.full_like(seen.face_log_distance, 1 / scale)
    if far is not None:
        factor = torch.where(face_sky.sigmoid() >= config.sky_threshold, far / seen.face_log_distance.exp(), factor)
    own, factor = seen.gaussians(), factor.flatten()[:, None]
    own = replace(own, means=own.means * factor, scales=own.scales * factor)
    lifted = lift_panorama(panorama, distance, sky, replace(config, colour_steps=0), metres_per_unit=scale)
    return replace(lifted, gaussians=own, source="heads")


def lift_panorama(
    panorama: Float[Tensor, "3 height width"],
    distance: Float[Tensor, "h w"],
    sky: Float[Tensor, "h w"],
    config: ScaffoldConfig = ScaffoldConfig(),
    metres_per_unit: float = 1.0,
) -> ScaffoldOutput:
    """Lifts a panorama with any distance map (predicted, true or drawn by hand) to the scaffold.

    Args:
        panorama: RGB in [0, 1].
        distance: Along each ray [world units], of any 2:1 size.
        sky: Probability of sky, same size as ``distance``.
        config: Sizes and options.
        metres_per_unit: Kept in the output.

    Raises:
        ValueError: a distance is not finite and positive.
    """
    anchors = cut_anchors(panorama, AnchorsConfig(config.face_px, config.fov_deg))
    face_distance = face_distance_from_panorama(distance, config.face_px, config.fov_deg, config.lift.edge_ratio)
    sky_map = (sky >= config.sky_threshold).to(distance)[None]
    face_sky = faces_from_panorama(sky_map, config.face_px, config.fov_deg, mode="nearest")[:, 0] > 0.5
    seen = (anchors.faces, face_distance, config.fov_deg)
    blocks = choose_blocks(*seen, most=config.most_gaussians, edge_ratio=config.lift.edge_ratio)
    gaussians = lift_blocks(anchors.faces, face_distance, face_sky, config.fov_deg, blocks, config.lift)
    gaussians = match_colours(
        gaussians, *seen, config.colour_steps, edge_threshold=config.edge_threshold, blocks=blocks
    )
    return ScaffoldOutput(gaussians, distance, sky, anchors.faces, face_distance, metres_per_unit)
