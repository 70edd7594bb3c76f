"""Settings of anchored synthesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Heuristic = Literal["anchored", "sequential", "ad-hoc"]
HEURISTICS = get_args(Heuristic)
CLASSICAL, SMALL = "classical", "small"  # engines that are no folder
LARGEST_FOV_DEG = 150.0  # of a view: beyond, most of its pixels show its corners


@dataclass(frozen=True)
class AnchoredConfig:
    """Views, prompts and the engine. Overlap of side views: ``side_fov_deg`` - 360 / ``side_views`` degrees.

    Raises:
        ValueError: a setting is out of range; the sentence says what it may be.
    """

    heuristic: Heuristic = "anchored"  # anchored: the paper's; sequential and ad-hoc: what it is compared with
    engine: str = CLASSICAL  # classical (no weights), small (outpainter-small), or a diffusers inpainting folder
    side_views: int = 8  # all around, the photo's own direction included
    side_fov_deg: float = 85.0  # of a side view [degrees]
    polar_fov_deg: float = 120.0  # of the views up and down [degrees]
    view_px: int = 0  # side of a view [pixels], a multiple of 8; 0: the panorama's own resolution
    sky_prompt: str = ""  # what is above: sky or ceiling; empty: the scene's prompt
    ground_prompt: str = ""  # what is below: ground or floor; empty: the scene's prompt
    caption_model: str = ""  # folder of a transformers caption model for prompts that are not given; empty: none
    steps: int = 50  # of a diffusers engine
    second_pass: float = 0.0  # share of the steps that each view goes through again when all are made, say 0.3; 0: none
    guidance: float = 7.5  # of a diffusers engine

    def __post_init__(self) -> None:
        if self.heuristic not in HEURISTICS:
            raise ValueError(f"heuristic must be one of {', '.join(HEURISTICS)}, got {self.heuristic!r}")
        if not self.engine:
            raise ValueError(f"engine must be {CLASSICAL}, {SMALL} or a folder, got an empty text")
        if not 3 <= self.side_views <= 64:
            raise ValueError(f"side_views must be in [3, 64], got {self.side_views}")
        for name in ("side_fov_deg", "polar_fov_deg"):
            if not 30 <= getattr(self, name) <= LARGEST_FOV_DEG:
                raise ValueError(f"{name} must be in [30, {LARGEST_FOV_DEG:g}] degrees, got {getattr(self, name)}")
        if self.side_fov_deg * self.side_views <= 360:
            least = 360 / self.side_views
            raise ValueError(
                f"side_fov_deg must be over {least:g} degrees for {self.side_views} side_views to overlap,"
                f" got {self.side_fov_deg}"
            )
        if self.view_px and (self.view_px < 64 or self.view_px % 8):
            raise ValueError(f"view_px must be 0, or a multiple of 8 and >= 64, got {self.view_px}")
        if self.steps < 1 or not self.guidance >= 0:
            raise ValueError(f"steps must be >= 1 and guidance >= 0, got {self.steps} and {self.guidance}")
        if self.second_pass and not 1 / self.steps <= self.second_pass < 1:
            raise ValueError(f"second_pass must be 0, or below 1 and one of the steps or more, got {self.second_pass}")
        if self.second_pass and self.engine in (CLASSICAL, SMALL):
            raise ValueError(f"second_pass needs a diffusers engine: {self.engine} denoises nothing")
