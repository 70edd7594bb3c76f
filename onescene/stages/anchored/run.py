"""The loop: cut a view out of the panorama, let the engine complete it, keep what is new."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.equirect import directions_from_panorama, lonlat_from_directions
from onescene.geometry.perspective import PlacedPhoto, crop_panorama, place_photo
from onescene.models.outpainter.weights import SmallOptions
from onescene.stages.anchored.captions import Prompts, describe
from onescene.stages.anchored.config import CLASSICAL, SMALL, AnchoredConfig
from onescene.stages.anchored.engines import WHOLLY, Engine, InpaintRequest, load_engine, pipeline_files
from onescene.stages.anchored.order import View, view_cameras, view_order
from onescene.stages.panorama_methods import PanoramaRequest, Synthesise
from onescene.types import Cameras

FEATHER = 0.1  # of a view's side, over which what was denoised again fades in
_MOST_LEFT = 64  # views for what the planned ones left out: each takes at least its own centre


@dataclass(frozen=True)
class AnchoredStep:
    """What one view brought.

    Attributes:
        view: The view.
        prompt: What the engine was asked for.
        panorama: After it, black where nothing is known; with the anchor while it is there.
        known: What is known after it, the anchor included while it is there.
        new_share: Share of the sphere that it added, in [0, 1].
    """

    view: View
    prompt: str
    panorama: Float[Tensor, "3 height width"]
    known: Bool[Tensor, "height width"]
    new_share: float


def engine_files(config: AnchoredConfig) -> tuple[Path, ...]:
    """Weight files that a run will read.

    Raises:
        FileNotFoundError: as :func:`pipeline_files`.
    """
    if config.engine == SMALL:
        return (SmallOptions().file(),)
    return () if config.engine == CLASSICAL else pipeline_files(config.engine)


def load(config: AnchoredConfig) -> Synthesise:
    """Anchored synthesis as a method of the panorama stage.

    Raises:
        FileNotFoundError, ValueError: the engine or the caption model cannot be loaded.
    """
    engine = load_engine(config)

    def synthesise(request: PanoramaRequest) -> Tensor:
        panorama = request.placed.panorama
        planned = len(view_order(config)) * (2 if config.second_pass else 1)
        for done, step in enumerate(paint_views(request, config, engine), start=1):
            panorama = step.panorama
            request.progress(min(done / planned, 1.0))
        return panorama

    return synthesise


@torch.no_grad()
def paint_views(request: PanoramaRequest, config: AnchoredConfig, engine: Engine) -> Iterator[AnchoredStep]:
    """Completes the panorama view by view; the last step's panorama is whole.

    With ``second_pass`` every planned view is then partly noised and denoised once more (W5 of the capabilities): it
    sees what its neighbours have become since. The photo stays.

    Args:
        request: The placed photo, prompts and generator.
        config: Heuristic, views, prompts.
        engine: What inpaints a view.

    Raises:
        ValueError: there is no photo, what the engine refuses, or an engine that returns another size.
    """
    if not bool(request.placed.mask.any()):
        raise ValueError("anchored needs a photo")
    prompts = _prompts(request, config)
    canvas = _Canvas(request.placed, engine, request, config)
    views = view_order(config, *photo_rims_deg(request.placed.mask))
    for view in views:
        yield canvas.paint(view, prompts)
    for _ in range(_MOST_LEFT):
        left = canvas.somewhere_unknown()
        if left is None:
            break
        yield canvas.paint(View("rest", "scene", *left, fov_deg=config.side_fov_deg), prompts)
    else:
        raise AssertionError("views did not cover the sphere")
    for view in views if config.second_pass else ():
        yield canvas.paint_again(view, prompts)


def photo_rims_deg(mask: Bool[Tensor, "height width"]) -> tuple[float, float]:
    """Highest and lowest latitude of a placed photo [degrees]."""
    rows = torch.nonzero(mask.any(dim=1)).flatten() + 0.5
    return float(90 - rows.min() * 180 / mask.shape[0]), float(90 - rows.max() * 180 / mask.shape[0])


def _prompts(request: PanoramaRequest, config: AnchoredConfig) -> Prompts:
    """Prompts given by hand, then those of the caption model; sky and ground fall back to the scene's."""
    given = Prompts(scene=request.prompt, sky=config.sky_prompt, ground=config.ground_prompt)
    if config.caption_model and not (given.scene and given.sky and given.ground):
        given = given.or_else(describe(_upright_photo(request), config.caption_model))
    return given.or_else(Prompts(given.scene, given.scene, given.scene))


def _upright_photo(request: PanoramaRequest) -> Tensor:
    """The photo as seen from the panorama's centre, for the caption model."""
    fov_deg = min(max(30.0, request.fov_deg or 90.0), 120.0)
    camera = view_cameras([View("photo", "scene", fov_deg=fov_deg)], 384)
    return crop_panorama(request.placed.panorama, camera)[0]


class _Canvas:
    """The panorama while it grows."""

    def __init__(self, placed: PlacedPhoto, engine: Engine, request: PanoramaRequest, config: AnchoredConfig) -> None:
        self.panorama, self.known = placed.panorama.clone(), placed.mask.clone()
        self.anchor, self.anchor_mask = (x.roll(x.shape[-1] // 2, dims=-1) for x in (placed.panorama, placed.mask))
        self.engine, self.request, self.config = engine, request, config
        height = placed.mask.shape[0]
        latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.pi
        self.area = (latitude.cos() / latitude.cos().sum() / (2 * height))[:, None].to(placed.mask.device)

    def paint(self, view: View, prompts: Prompts) -> AnchoredStep:
        """Lets the engine complete one view, and keeps what was not known."""
        shown = self.anchor_mask & ~self.known if view.anchored else torch.zeros_like(self.known)
        panorama, known = torch.where(shown, self.anchor, self.panorama), self.known | shown
        prompt = getattr(prompts, view.subject)
        placed = self._made(panorama, known, view, prompt)
        new = placed.mask & ~known
        self.panorama = torch.where(new, placed.panorama, self.panorama)
        self.known = self.known | new
        return AnchoredStep(
            view=view,
            prompt=prompt,
            panorama=torch.where(shown, self.anchor, self.panorama),
            known=self.known | shown,
            new_share=float((new * self.area).sum()),
        )

    def paint_again(self, view: View, prompts: Prompts) -> AnchoredStep:
        """Lets the engine denoise the last part of a view anew, all but the photo, and fades it in."""
        photo, prompt = self.request.placed.mask, getattr(prompts, view.subject)
        made = self._made(self.panorama, photo, view, prompt, self.config.second_pass)
        self.panorama = torch.where(photo, self.panorama, torch.lerp(self.panorama, made.panorama, made.weight))
        return AnchoredStep(replace(view, name=f"{view.name}, again"), prompt, self.panorama, self.known, 0.0)

    def _ask(self, rgb: Tensor, known: Tensor, camera: Cameras | None, prompt: str, strength: float = 1.0) -> Tensor:
        request = self.request
        seed = int(torch.randint(2**31, (1,), generator=request.generator))
        generator = torch.Generator().manual_seed(seed)
        shown = rgb * known if strength == 1 else rgb
        made = self.engine(InpaintRequest(shown, known, camera, prompt, request.negative_prompt, generator, strength))
        if made.shape != rgb.shape:
            raise ValueError(f"the engine made {list(made.shape)}, not {list(rgb.shape)}")
        return torch.where(known, rgb, made.clamp(0, 1))

    def _made(self, panorama: Tensor, known: Tensor, view: View, prompt: str, strength: float = 1.0) -> PlacedPhoto:
        """What the engine makes of a view, on the panorama.

        The whole of it is any picture to the engine, whose left and right ends know nothing of each other.
        """
        if view.fov_deg is None:
            made, everywhere = self._ask(panorama, known, None, prompt, strength), torch.ones_like(known)
            return PlacedPhoto(panorama=made, mask=everywhere, weight=everywhere.to(panorama))
        hw = tuple(known.shape)
        per_radian = hw[0] / math.pi
        own = 2 * per_radian * math.tan(math.radians(view.fov_deg) / 2)  # at the view's centre
        camera = view_cameras([view], self.config.view_px or max(64, 8 * math.ceil(own / 8))).to(panorama)
        rgb = crop_panorama(panorama, camera)[0]
        known_there = crop_panorama(known.to(panorama)[None], camera)[0, 0] > WHOLLY
        if bool(known_there.all()):
            nothing = torch.zeros_like(known)
            return PlacedPhoto(panorama=panorama, mask=nothing, weight=nothing.to(panorama))
        made = self._ask(rgb, known_there, camera, prompt, strength)
        if view.keep_deg is not None:
            kept = made.shape[-1] * math.tan(math.radians(view.keep_deg) / 2) / math.tan(math.radians(view.fov_deg) / 2)
            margin = max(0, int((made.shape[-1] - kept) / 2))
            made = made[..., margin : made.shape[-1] - margin]  # its height stays the long side
        feather = FEATHER * own if strength < 1 else 0.0
        return place_photo(made, hw, view.fov_deg, yaw_deg=view.yaw_deg, pitch_deg=view.pitch_deg, feather_px=feather)

    def somewhere_unknown(self) -> tuple[float, float] | None:
        """Yaw and pitch [degrees] of an unknown pixel; None where all is known."""
        places = torch.nonzero(~self.known)
        if not len(places):
            return None
        row, column = places[len(places) // 2]
        direction = directions_from_panorama(tuple(self.known.shape), dtype=torch.float64)[row, column]
        longitude, latitude = torch.rad2deg(lonlat_from_directions(direction)).tolist()
        return longitude, latitude
