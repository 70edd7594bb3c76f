"""What can be set on a fit, and the recipes of the papers by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from onescene.splatting import Backend

Strategy = Literal["none", "default", "mcmc"]
Exposure = Literal["none", "affine"]


@dataclass(frozen=True)
class DefaultConfig:
    """The strategy of 3D Gaussian Splatting (Sec. 5 and 6), names and values as gsplat's ``DefaultStrategy``.

    Notes: 3DGS runs 30,000 steps; when it begins and ends here is the same share of the steps there are.
    """

    grow_grad2d: float = 2e-4  # mean gradient on the screen from which a Gaussian grows [loss per half image width]
    grow_scale3d: float = 0.01  # larger Gaussians are split, the others cloned [scene extents]
    prune_opacity: float = 0.005  # fainter ones are dropped
    prune_scale3d: float = 0.1  # larger ones are dropped, once opacities have been reset [scene extents]
    refine_every: int = 100  # steps
    refine_start: float = 500 / 30_000  # share of all steps
    refine_stop: float = 15_000 / 30_000  # share of all steps
    reset_every: int = 3000  # steps between resets of the opacities


@dataclass(frozen=True)
class McmcConfig:
    """3D Gaussian Splatting as Markov Chain Monte Carlo (Kheradmand et al. 2024), values as gsplat's ``MCMCStrategy``.

    Notes: shares of all steps stand for its counts of 30,000, as in :class:`DefaultConfig`.
    """

    cap_max: int = 1_000_000  # Gaussians at most
    growth: float = 1.05  # how many times as many after each round
    min_opacity: float = 0.005  # fainter Gaussians are dead, and move to where live ones are
    noise: float = 5e5 * 1.6e-4  # of the means: noise_lr of gsplat times 3DGS's rate of the means [1 / scene extent]
    opacity_reg: float = 0.01  # weight of the mean opacity in the loss
    scale_reg: float = 0.01  # weight of the mean scale [scene extents] in the loss
    refine_every: int = 100  # steps
    refine_start: float = 500 / 30_000  # share of all steps
    refine_stop: float = 25_000 / 30_000  # share of all steps


@dataclass(frozen=True)
class DistortionConfig:
    """The distortion field of WorldRecipe: per view, a small MLP from a place in the image to an offset.

    Notes: its summary gives no sizes; these are ours.
    """

    octaves: int = 2  # of sines and cosines of the place; more = finer distortions
    hidden: int = 32  # width of the two hidden layers
    cell_px: int = 8  # the field is evaluated once per so many pixels, bilinear between
    lr: float = 5e-3  # Adam's
    weight: float = 1e-3  # of the mean squared offset [pixels^2] in the loss


@dataclass(frozen=True)
class RefineConfig:
    """How Gaussians are fitted. Learning rates are Adam's, per step.

    Notes: the rates are up to ten times those of 3DGS, which has 30,000 steps to go. On a sampled room with 16 true
    views and 60 steps they reach 30.0 dB on views not fitted to, 3DGS's rates 27.9 dB, from a start of 25.6 dB.
    """

    steps: int = 60  # one view each
    lr_means: float = 0.05  # in sizes (mean scale) of each Gaussian, so that near and far ones move alike
    lr_distance: float = 0.0  # of log distances from the origin, in one smooth field for all; 0 = there is none
    lr_quats: float = 5e-3
    lr_scales: float = 0.05  # of log scales
    lr_opacities: float = 0.1  # of logit opacities
    lr_sh: float = 0.03  # degree 0; a twentieth of it above, as in 3DGS
    lr_final: float = 0.3  # all rates fall geometrically to this share of themselves at the last step
    ssim_weight: float = 0.2  # loss = (1 - w) L1 + w (1 - SSIM)
    depth_weight: float = 0.0  # of the L1 between disparities [1 / scene extent], where a view's depth is given
    exposure: Exposure = "none"  # affine: per view, a 3x4 matrix on colours, as in 3DGS
    lr_exposure: float = 0.01  # 3DGS's first
    distortion: DistortionConfig | None = None  # None = views are taken as they are
    strategy: Strategy = "none"  # which Gaussians come and go: none, as 3DGS, or as 3DGS-MCMC
    default: DefaultConfig = field(default_factory=DefaultConfig)
    mcmc: McmcConfig = field(default_factory=McmcConfig)
    check_every: int = 100  # steps between looks at all views; the best state seen is returned
    hold_out: float = 0.0  # share of the views kept for these looks alone; 0 = they are taken at the views fitted to
    patience: int = 0  # looks without progress after which the fit ends; 0 = it goes through
    prune_opacity: float = 0.0  # fainter Gaussians are dropped at the end; 3DGS uses 0.005, 0 keeps all
    seed: int = 0  # order of the views, and everything else drawn at random
    backend: Backend = "auto"  # of render


SMALL = RefineConfig()
# True views of a scene that was lifted to wrong distances: one smooth field moves whole walls, means move ten times as
# fast, the rest slower. Without the field views not fitted to gain half as much (benchmarks/fitting.py --size quarter
# on maps for tuning: toxic +5.9 dB, without it +1.4). A field three times as fast brings less.
TRUE_VIEWS = RefineConfig(
    **{"steps": 500, "lr_means": 0.5, "lr_distance": 3e-3, "lr_scales": 0.02, "lr_opacities": 0.03, "lr_sh": 0.01}
)
# Matrix-3D (optimisation route): 3DGS with its own strategy and the L1 loss alone, on 12 crops of every fifth panorama
# (``keyframes`` and ``panorama_crops``). Steps and rates are 3DGS's where the paper names none, with two differences: a
# Gaussian's size takes the place of the scene's extent (1.6e-4 extents are about 0.06 sizes of a scaffold's Gaussians),
# and all rates fall to a hundredth, where 3DGS lowers that of the means alone.
MATRIX_3D = RefineConfig(
    **{"steps": 30_000, "ssim_weight": 0.0, "strategy": "default", "check_every": 1000},
    **{"lr_quats": 1e-3, "lr_scales": 5e-3, "lr_opacities": 0.05, "lr_sh": 2.5e-3, "lr_final": 0.01},
)
# WorldRecipe: 3DGS whose views may bend a little, so that generated views which disagree do not blur the scene.
WORLD_RECIPE = RefineConfig(steps=200, distortion=DistortionConfig())
RECIPES = {"small": SMALL, "true-views": TRUE_VIEWS, "matrix-3d": MATRIX_3D, "world-recipe": WORLD_RECIPE}


def check_config(config: RefineConfig) -> None:
    """Refuses settings out of range.

    Raises:
        ValueError: naming the setting, what it is and what it may be.
    """
    if config.steps < 0 or config.check_every < 1:
        raise ValueError(f"steps must be >= 0 and check_every >= 1, got {config.steps} and {config.check_every}")
    for name, kind in (("strategy", Strategy), ("exposure", Exposure)):
        if getattr(config, name) not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(config, name)!r}")
    if not 0 <= config.hold_out < 1:
        raise ValueError(f"hold_out must lie in [0, 1), got {config.hold_out}")
    for name in ("depth_weight", "lr_distance", "patience", "ssim_weight"):
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name} must be >= 0, got {getattr(config, name)}")
    _check_strategy(config)


def _check_strategy(config: RefineConfig) -> None:
    """Refuses a strategy whose first time to act lies beyond its last step: Gaussians would stay as they are."""
    if config.strategy == "none" or config.steps == 0:
        return
    strategy = config.default if config.strategy == "default" else config.mcmc
    if strategy.refine_every < 1:
        raise ValueError(f"refine_every must be >= 1, got {strategy.refine_every}")
    first = (int(strategy.refine_start * config.steps) // strategy.refine_every + 1) * strategy.refine_every
    if first >= strategy.refine_stop * config.steps:
        least = int(strategy.refine_every / strategy.refine_stop) + 1
        raise ValueError(
            f"strategy {config.strategy} acts every {strategy.refine_every} steps of the first "
            f"{strategy.refine_stop:.0%}: steps must be >= {least}, got {config.steps}"
        )
