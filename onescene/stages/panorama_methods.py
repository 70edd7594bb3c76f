"""Methods of the panorama stage: what there is, what each needs and may not do, and the one shape that all share.

HOW TO ADD A METHOD. Write a module of ``stages/`` or ``models/`` with

- a frozen dataclass of the method's own settings, a comment and a unit per field (``AnchoredConfig``, ...), and
- ``load(options) -> synthesise``: reads weights if there are any; then ``synthesise(request) -> [3, H, 2H]``.

and add one row to ``METHODS`` below, behind a function that imports the module late. That is all: ``onescene panorama
--method NAME``, ``onescene models list``, ``panorama_options`` of a params file, the sentence before the start and the
record of weights follow from the row. The stage (``stages/panorama.py``) does for every method what is common: it
places the photo (exactly, or as the release does), draws the generator from the seed, puts the photo's own pixels back
over the result, feathers only their rim, and clips to [0, 1]. So ``synthesise`` is free inside the photo: what it
returns there is seen only in the rim's ``feather_px`` pixels. It must return a whole panorama of the size of
``request.placed.panorama``, on its device and in its dtype, the same for the same seed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.perspective import PlacedPhoto
from onescene.models.hunyuan_pano import HunyuanConfig, HunyuanTextConfig, required_files
from onescene.models.hunyuan_pano.config import LICENCES
from onescene.models.outpainter.weights import SmallOptions
from onescene.stages.anchored.config import AnchoredConfig
from onescene.stages.options import check_values


@dataclass(frozen=True, kw_only=True)
class PanoramaRequest:
    """What a method gets.

    Attributes:
        placed: The photo on the sphere: ``placed.panorama`` (black outside), ``placed.mask`` (True where the photo is),
            ``placed.weight`` (how much of the photo's own pixel the result keeps). Text alone: the mask is empty.
        fov_deg: Field of view of the photo's long side [degrees]; None where there is no photo.
        prompt: What the panorama shows, in words; may be empty.
        negative_prompt: What it must not show; may be empty.
        seed: Of everything drawn.
        generator: On the CPU, from the seed; methods draw from it or from the seed and from nothing else.
        progress: To be called with the share of the method's work that is done, in [0, 1].
    """

    placed: PlacedPhoto
    fov_deg: float | None
    prompt: str
    negative_prompt: str
    seed: int
    generator: torch.Generator
    progress: Callable[[float], None]


Synthesise = Callable[[PanoramaRequest], Float[Tensor, "3 height width"]]


@dataclass(frozen=True, kw_only=True)
class PanoramaMethod:
    """A row of ``METHODS``.

    Attributes:
        name: As in ``--method``.
        summary: How it makes a panorama, in a few words.
        weights: Where its weights are from.
        licence: Of the weights, and where it does not apply.
        memory: It takes, with the size that this holds for.
        time: It takes, with the machine that this holds for.
        load: Options -> the method, ready to run. Raises ValueError or FileNotFoundError with one sentence.
        options: Frozen dataclass of its own settings; None: it has none.
        files: Options -> the weight files that it will read. Quick; called before anything starts; raises
            FileNotFoundError or ValueError with the sentence that says what is missing and where to get it.
        accept: Licences that must have been accepted (``--accept-license NAME``): name -> what it says, in a clause.
        from_text: Whether it can do without a photo.
        with_photo: Whether it can take one.
        prompted: Whether it reads the prompt.
    """

    name: str
    summary: str
    weights: str
    licence: str
    memory: str
    time: str
    load: Callable[[Any], Synthesise]
    options: type | None = None
    files: Callable[[Any], tuple[Path, ...]] = lambda options: ()
    accept: Mapping[str, str] = field(default_factory=dict)
    from_text: bool = False
    with_photo: bool = True
    prompted: bool = False

    @property
    def announcement(self) -> str:
        """What is said before it starts: weights, licence, memory, time."""
        parts = (f"weights: {self.weights}", f"licence: {self.licence}", f"memory: {self.memory}", f"time: {self.time}")
        return f"panorama by {self.name}: {'; '.join(parts)}"


# --- the methods: each function imports late --------------------------------------------------------------------------


def _baseline(options: None) -> Synthesise:
    from onescene.stages.outpaint import outpaint

    def synthesise(request: PanoramaRequest) -> Tensor:
        placed = request.placed
        image = placed.panorama.permute(1, 2, 0).float().cpu().numpy()
        around = outpaint(np.ascontiguousarray(image), placed.mask.cpu().numpy(), request.seed)
        return torch.from_numpy(around).permute(2, 0, 1).to(placed.panorama)

    return synthesise


def _file(options: None) -> Synthesise:
    return lambda request: request.placed.panorama  # the stage has placed the whole panorama


def _small(options: SmallOptions) -> Synthesise:
    from onescene.stages.outpaint_learned import load

    return load(options)


def _anchored(options: AnchoredConfig) -> Synthesise:
    from onescene.stages.anchored.run import load

    return load(options)


def _anchored_files(options: AnchoredConfig) -> tuple[Path, ...]:
    from onescene.stages.anchored.run import engine_files

    return engine_files(options)


def _hunyuan(options: HunyuanConfig) -> Synthesise:
    from onescene.models.hunyuan_pano.panorama import load

    return load(options)


_FLUX_MEMORY = (
    "34 GB of main memory or, with offload: false, of GPU memory; offloaded 24 GB of GPU memory and what the steps need"
    " (the sizes of the weights in bfloat16, computed; on a CPU they are float32, twice that)"
)
_FLUX_TIME = "{passes} passes of a 12 billion network over 7 892 tokens, {operations} operations: not measured here"

METHODS: dict[str, PanoramaMethod] = {
    row.name: row
    for row in (
        PanoramaMethod(
            name="baseline",
            summary="classical outpainting: colours and textures continue, nothing is invented",
            weights="none",
            licence="Apache-2.0 (code)",
            memory="1.0 GB at 1024x2048",
            time="5 s at 1024x2048 on two cores",
            load=_baseline,
        ),
        PanoramaMethod(
            name="small",
            summary="as the baseline, ground and ceiling in perspective, colours corrected by a network trained here",
            weights="outpainter-small and scaffold-small, shipped; or the outpainter panorama_options: {weights: FILE}",
            licence="Apache-2.0",
            memory="1.1 GB at 1024x2048",
            time="8 s at 1024x2048 on two cores, 3 s at 512x1024",
            load=_small,
            options=SmallOptions,
            files=lambda options: options.files(),
        ),
        PanoramaMethod(
            name="anchored",
            summary="WorldRecipe: sky and ground, then side views, one by one by any inpainting engine",
            weights="none with the engine classical, outpainter-small with small, else a diffusers pipeline's",
            licence="Apache-2.0 (code); a diffusers pipeline has its own",
            memory="1.3 GB at 1024x2048 with the engines classical and small; a diffusers pipeline needs its own",
            time="43 s at 1024x2048 with the engine classical; else ten pictures of the pipeline",
            load=_anchored,
            options=AnchoredConfig,
            files=_anchored_files,
            prompted=True,
        ),
        PanoramaMethod(
            name="file",
            summary="a 2:1 panorama made elsewhere is taken as it is",
            weights="none",
            licence="that of the file",
            memory="0.3 GB at 512x1024",
            time="1 s",
            load=_file,
        ),
        PanoramaMethod(
            name="hunyuan",
            summary="Hunyuan-Pano-DiT, the paper's: FLUX.1-Fill with a panorama LoRA, made circular",
            weights="black-forest-labs/FLUX.1-Fill-dev, tencent/HunyuanWorld-1 (HunyuanWorld-PanoDiT-Image)",
            licence="; ".join(LICENCES.values()),
            memory=_FLUX_MEMORY,
            time=_FLUX_TIME.format(passes=100, operations="1.9e16"),
            load=_hunyuan,
            options=HunyuanConfig,
            files=required_files,
            accept=LICENCES,
            prompted=True,
        ),
        PanoramaMethod(
            name="hunyuan-text",
            summary="the same from words alone, on FLUX.1",
            weights="black-forest-labs/FLUX.1-dev, tencent/HunyuanWorld-1 (HunyuanWorld-PanoDiT-Text)",
            licence="; ".join(LICENCES.values()),
            memory=_FLUX_MEMORY,
            time=_FLUX_TIME.format(passes=50, operations="0.9e16"),
            load=_hunyuan,
            options=HunyuanTextConfig,
            files=required_files,
            accept=LICENCES,
            from_text=True,
            with_photo=False,
            prompted=True,
        ),
    )
}


def method_named(name: str) -> PanoramaMethod:
    """The row of a method.

    Raises:
        ValueError: there is none; the sentence names those that there are.
    """
    if name not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def options_from(method: PanoramaMethod, values: Mapping[str, Any]) -> Any:
    """A method's own settings from a mapping, as a params file gives it.

    Raises:
        ValueError: a key that the method does not know; a value of another type; what the settings' own checks refuse.
    """
    known = [field.name for field in fields(method.options)] if method.options else []
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {', '.join(known) or 'none'}"
            raise ValueError(f"panorama_options: {method.name} has no option {key!r}; {hint}")
    if method.options is None:
        return None
    check_values(method.options, values, lambda key: f"panorama_options: {key} of {method.name}")
    return method.options(**values)
