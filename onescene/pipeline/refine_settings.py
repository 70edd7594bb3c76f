"""The settings of the fit, checked before a run does anything else, and what the stage makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, get_args

from onescene.stages.refine.config import (
    RECIPES,
    DistortionConfig,
    Exposure,
    RefineConfig,
    Strategy,
    check_config,
)

LOOKS = 10  # how often a fit that may end early is looked at
CROPPED = ("matrix-3d",)  # recipes that see the panorama in 12 crops instead of six anchors


class RefineSettings(Protocol):
    """What :class:`onescene.pipeline.settings.RunSettings` has of them; None = as the recipe says."""

    refine_steps: int | None
    refine_recipe: str
    refine_strategy: str | None
    refine_exposure: str | None
    refine_distortion: bool | None
    refine_depth_weight: float | None
    refine_hold_out: float
    refine_patience: int
    seed: int


def check_refine_settings(settings: RefineSettings) -> None:
    """Refuses values out of range, of the types that the settings have, and a strategy that would never come to act.

    Raises:
        ValueError: naming the setting, what it is and what it may be.
    """
    _must_be_one_of("recipe", settings.refine_recipe, tuple(RECIPES))
    for name, kind in (("strategy", Strategy), ("exposure", Exposure)):
        if getattr(settings, f"refine_{name}") is not None:
            _must_be_one_of(name, getattr(settings, f"refine_{name}"), get_args(kind))
    for name in ("steps", "depth_weight"):
        value = getattr(settings, f"refine_{name}")
        if value is not None and value < 0:
            raise ValueError(f"refine_{name} must be >= 0, got {value}")
    if not 0 <= settings.refine_hold_out < 1:
        raise ValueError(f"refine_hold_out must lie in [0, 1), got {settings.refine_hold_out:g}")
    check_config(refine_config(settings))


def refine_config(settings: RefineSettings) -> RefineConfig:
    """The fit that the settings ask for: a recipe, and what is set beside it."""
    recipe = RECIPES[settings.refine_recipe]
    steps = recipe.steps if settings.refine_steps is None else settings.refine_steps
    looks = steps // LOOKS if settings.refine_patience else min(steps, recipe.check_every)
    chosen: dict[str, Any] = {
        "strategy": settings.refine_strategy,
        "exposure": settings.refine_exposure,
        "depth_weight": settings.refine_depth_weight,
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if settings.refine_distortion is not None:
        chosen["distortion"] = (recipe.distortion or DistortionConfig()) if settings.refine_distortion else None
    return replace(
        recipe,
        steps=steps,
        seed=settings.seed,
        hold_out=settings.refine_hold_out,
        patience=settings.refine_patience,
        check_every=max(1, looks),
        **chosen,
    )


def _must_be_one_of(name: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"refine_{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
