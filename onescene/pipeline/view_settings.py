"""The settings of novel views that need networks, checked before a run does anything else."""

from __future__ import annotations

from typing import Protocol, get_args

from onescene.models.seva.bundle import check_bundle
from onescene.models.seva.conditioning import Routing
from onescene.stages.diffusion_views import SynthesisConfig, check_one_step
from onescene.stages.views import Method


class ViewSettings(Protocol):
    """What :class:`onescene.pipeline.settings.RunSettings` has of them."""

    method: str
    view_weights: str | None
    view_memory: str
    view_sampling: str
    view_steps: int | None
    seed: int


def check_view_settings(settings: ViewSettings) -> None:
    """Refuses an unknown method and a method whose weights are not there.

    Raises:
        FileNotFoundError: a weight file is missing; the sentence names files and licences.
        ValueError: a setting is out of range, or weights were given to a method that has none.
    """
    if settings.method not in get_args(Method):
        raise ValueError(f"--method must be one of {', '.join(get_args(Method))}, got {settings.method!r}")
    if settings.view_sampling not in get_args(Routing):
        raise ValueError(f"--sampling must be one of {', '.join(get_args(Routing))}, got {settings.view_sampling!r}")
    if settings.method == "baseline":
        if settings.view_weights is not None:
            raise ValueError("--weights is for --method anchors-only, concat or dual-lora; baseline has none")
        return
    config = synthesis_config(settings)
    manifest, _ = check_bundle(settings.view_weights)
    if manifest.method not in (None, settings.method):
        which = settings.view_weights or "what comes with the package"
        more = "" if settings.view_weights else "; --weights DIR names other networks"
        raise ValueError(f"{which} was trained for --method {manifest.method}, got {settings.method}{more}")
    check_one_step(manifest, config)


def synthesis_config(settings: ViewSettings) -> SynthesisConfig:
    """How the settings want views to be made.

    Raises:
        ValueError: a setting is out of range.
    """
    return SynthesisConfig(
        method=settings.method,
        memory=settings.view_memory,
        routing=settings.view_sampling,
        steps=settings.view_steps,
        seed=settings.seed,
    )
