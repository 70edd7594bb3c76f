"""What can be set on a run. Two presets, ``small`` (a CPU, shipped weights) and ``paper`` (a GPU, official weights)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onescene.geometry.trajectories import check_trajectory
from onescene.pipeline.parameters import check_keys, read_params
from onescene.pipeline.refine_settings import check_refine_settings
from onescene.pipeline.seeds import MOST_SEED
from onescene.pipeline.view_settings import check_view_settings
from onescene.stages.options import check_values
from onescene.stages.panorama_methods import method_named, options_from
from onescene.stages.scaffold import SOURCES

PRESETS = ("small", "paper")
_RANGES: dict[str, tuple[float, float]] = {  # from the first to the second
    **{"panorama_height": (64, 8192), "face_px": (16, 4096), "anchor_fov_deg": (90, 160), "turns": (1, 64)},
    **{"frames": (1, 100_000), "fps": (1, 240), "radius_world": (0, 1000), "seed": (0, MOST_SEED)},
    **{"scaffold_gaussians": (1, math.inf), "refine_views": (1, math.inf), "refine_patience": (0, math.inf)},
}
_MOST_VIEW_PX = 8192


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Every setting of ``onescene run``; the defaults are the preset ``small``."""

    seed: int = 0
    fov_deg: float | None = None  # field of view of the photo's long side [degrees]; None = read from it, else guessed
    pitch_deg: float | None = None  # how far the photo's camera looks up [degrees]; None = of its lines, or level
    roll_deg: float | None = None  # how far it is turned clockwise about its view axis [degrees]; None likewise
    panorama_placement: str = "exact"  # of the photo: exact, or release (HunyuanWorld's rule, level photos only)
    panorama_method: str = "small"  # a name of onescene.stages.panorama_methods.METHODS
    panorama_prompt: str = ""  # what the panorama shows, in any language that the method's text encoder knows
    panorama_negative_prompt: str = ""  # what it must not show
    panorama_options: dict[str, Any] = field(default_factory=dict)  # of the method: `onescene models list` names them
    panorama_height: int = 1024  # [pixels] of one that is made; one that is given is shrunk to 2048 at most
    face_px: int = 512  # side of an anchor
    anchor_fov_deg: float = 95.0  # [degrees]
    turns: int = 4  # turned copies whose predicted distance is averaged
    scaffold_weights: str | None = None  # scaffold-small (None), one2scene-small, or a file of any scaffold network
    scaffold_gaussians: int | None = 500_000  # lifted: at most so many (one per 4x4 pixels at least); None = each pixel
    scaffold_source: str = "auto"  # of the Gaussians: heads (the network's own), lifted (from distance), auto
    trajectory: tuple[str, ...] = ("walk",)  # names, one after the other
    frames: int = 32  # of each trajectory
    radius_world: float = 0.6  # reach of a trajectory [world units; the scene's median distance is 2]
    view_hw: tuple[int, int] = (384, 512)  # [pixels]
    view_fov_deg: float = 75.0  # across a view's width [degrees]
    method: str = "dual-lora"  # of novel views: baseline, anchors-only, concat, dual-lora
    view_weights: str | None = None  # folder of their networks (onescene.models.seva.bundle); None = what ships
    view_memory: str = "nearest"  # frames made earlier that dual-lora sees: nearest, 3 anchors + 2 generated, none
    view_sampling: str = "trained"  # the adapters' mask: of the training, or the release's sampler's (released)
    view_steps: int | None = None  # of sampling; None = as the weights were made for
    refine_views: int = 8  # views that the scene is fitted to, beside the anchors
    refine_steps: int | None = None  # None = the recipe's: 60 with small
    refine_recipe: str = "small"  # learning rates, loss and more, by name: onescene.stages.refine.RECIPES
    refine_strategy: str | None = None  # none, default or mcmc: which Gaussians come and go; None = the recipe's
    refine_exposure: str | None = None  # none or affine: colours of each view are matched; None = the recipe's
    refine_distortion: bool | None = None  # whether each view may bend a little; None = the recipe's
    refine_depth_weight: float | None = None  # of the scaffold's depth in the loss; None = the recipe's
    refine_hold_out: float = 0.0  # share of those views (not of the anchors) that only judge the fit, in [0, 1)
    refine_patience: int = 0  # looks (ten in all) without progress after which the fit ends; 0 = it goes through
    fps: int = 12  # of the film


def preset(name: str, weights: str | Path | None = None, named: Collection[str] = ()) -> RunSettings:
    """The settings of a preset.

    Args:
        name: ``small`` or ``paper``.
        weights: Folder of the official networks, for ``paper`` (``pipeline/official.py``).
        named: Settings that the caller gives, for which nothing has to be found.

    Raises:
        FileNotFoundError, ValueError: the name is unknown, or weights are missing; the sentence says which.
    """
    if name not in PRESETS:
        raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, got {name!r}")
    if name == "paper":
        from onescene.pipeline.official import official_settings

        return RunSettings(**official_settings(weights, named))
    if weights is not None:
        raise ValueError("--weights is for --preset paper: small has its weights in the package")
    return RunSettings()


def settings_from(
    preset_name: str = "small",
    params_file: str | Path | None = None,
    weights: str | Path | None = None,
    **flags: Any,
) -> RunSettings:
    """A preset (and the folder of its weights), a params file over it, flags over both; None: a flag was not given.

    Raises:
        FileNotFoundError: the params file is missing, or weights are.
        ValueError: an unknown preset, an unknown key, or a value out of range; the sentence names it.
    """
    values: dict[str, Any] = {}
    if params_file is not None:
        values = {k: v for k, v in read_params(params_file).items() if (k, v) != ("panorama_options", None)}
        check_keys(values, asdict(RunSettings()), Path(params_file).name)
        check_values(RunSettings, values, lambda key: f"{Path(params_file).name}: {key}")
    values |= {k: v for k, v in flags.items() if v is not None and k != "panorama_options"}
    settings = preset(preset_name, weights, values)
    own = settings.panorama_method
    # one option of the panorama's method leaves those of the file, and of the preset where it is the preset's method
    options = [settings.panorama_options] if values.get("panorama_method", own) == own else []
    options += [values.get("panorama_options") or {}, flags.get("panorama_options") or {}]
    values |= {k: str(v) for k, v in values.items() if isinstance(v, Path)}
    values["panorama_options"] = {k: v for some in options for k, v in some.items()}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if "trajectory" in values:
        values["trajectory"] = tuple(map(check_trajectory, values["trajectory"]))
    settings = dataclasses.replace(settings, **values)
    check_settings(settings)
    return settings


def check_settings(settings: RunSettings) -> None:
    """Refuses values out of range.

    Raises:
        ValueError: naming the setting, what it is and what it may be.
    """
    check_values(RunSettings, vars(settings), _flag)
    for name, (low, high) in _RANGES.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            within = f">= {low}" if value < low else f"<= {high}"
            raise ValueError(f"{_flag(name)} must be {within}, got {value}")
    if settings.panorama_height % 2:
        raise ValueError(f"panorama_height must be even, got {settings.panorama_height}")
    if settings.fov_deg is not None and not 10 < settings.fov_deg < 170:
        raise ValueError(f"--fov-deg must lie in (10, 170), got {settings.fov_deg:g}")
    for name, most in (("pitch_deg", 90), ("roll_deg", 180)):
        value = getattr(settings, name)
        if value is not None and not abs(value) <= most:
            raise ValueError(f"{_flag(name)} must lie in [-{most}, {most}] degrees, got {value:g}")
    if settings.panorama_placement not in ("exact", "release"):
        raise ValueError(f"panorama_placement must be one of exact, release, got {settings.panorama_placement!r}")
    if settings.panorama_placement == "release" and (settings.pitch_deg or settings.roll_deg):
        raise ValueError("panorama_placement release knows level photos only: leave pitch_deg and roll_deg out")
    method = method_named(settings.panorama_method)
    options_from(method, settings.panorama_options)
    if (settings.panorama_prompt or settings.panorama_negative_prompt) and not method.prompted:
        raise ValueError(f"method {method.name} reads no prompt; leave --prompt out or choose another --method")
    if not settings.trajectory:
        raise ValueError("--trajectory must name at least one trajectory")
    if not 10 < settings.view_fov_deg < 170:
        raise ValueError(f"view_fov_deg must lie in (10, 170), got {settings.view_fov_deg:g}")
    check_view_settings(settings)
    if settings.scaffold_source not in SOURCES:
        raise ValueError(f"scaffold_source must be one of {', '.join(SOURCES)}, got {settings.scaffold_source!r}")
    if settings.scaffold_weights is not None or settings.scaffold_source == "heads":
        from onescene.models.scaffolds import has_heads, scaffold_file

        if not has_heads(settings.scaffold_weights) and settings.scaffold_source == "heads":
            file = scaffold_file(settings.scaffold_weights).name
            raise ValueError(f"scaffold_source heads: {file} has no trained heads for Gaussians; use lifted")
    check_refine_settings(settings)
    if any(n % 2 or not 16 <= n <= _MOST_VIEW_PX for n in settings.view_hw):
        raise ValueError(f"view_hw must be two even sizes from 16 to {_MOST_VIEW_PX}, got {settings.view_hw}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}" if name in ("frames", "seed", "fov_deg", "pitch_deg", "roll_deg") else name
