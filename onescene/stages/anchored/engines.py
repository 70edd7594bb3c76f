"""Engines, which fill the unknown pixels of one view: classical, any inpainting pipeline of diffusers, ``learned``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.models.arithmetic import best_device
from onescene.stages.anchored.config import CLASSICAL, SMALL, AnchoredConfig
from onescene.stages.inpaint import inpaint
from onescene.types import Cameras


@dataclass(frozen=True)
class InpaintRequest:
    """A view to complete.

    Attributes:
        rgb: In [0, 1], black where it is not known (but see ``strength``).
        known: Which pixels are given.
        camera: Of the view, at the panorama's centre; None: the picture is the whole panorama.
        prompt: What is to be seen; may be empty.
        negative_prompt: What is not; may be empty.
        generator: For everything drawn, on the CPU.
        strength: Below 1: ``rgb`` is a whole picture, and what is not known is noised by this share of the steps and
            denoised anew.
    """

    rgb: Float[Tensor, "3 height width"]
    known: Bool[Tensor, "height width"]
    camera: Cameras | None
    prompt: str
    negative_prompt: str
    generator: torch.Generator
    strength: float = 1.0


Engine = Callable[[InpaintRequest], Float[Tensor, "3 height width"]]


WHOLLY = 0.999  # a resampled pixel is known if all that it is interpolated from is


def refuse_prompt(request: InpaintRequest, engine: str) -> None:
    """Raises ValueError where there is a prompt, for an engine that reads none."""
    if request.prompt or request.negative_prompt:
        raise ValueError(f"the engine {engine} reads no prompt: leave prompts out, or give a diffusers pipeline")


def classical_engine(request: InpaintRequest) -> Float[Tensor, "3 height width"]:
    """Mean value interpolation from the rim of the hole: colours go on, nothing is invented.

    Raises:
        ValueError: there is a prompt, which it cannot read.
    """
    refuse_prompt(request, CLASSICAL)
    rgb = np.ascontiguousarray(request.rgb.permute(1, 2, 0).float().cpu().numpy())
    known = request.known.cpu().numpy()
    filled, _ = inpaint(rgb, np.ones(known.shape, dtype=np.float32), known, 1.0)
    return torch.from_numpy(filled).permute(2, 0, 1).to(request.rgb)


def pipeline_files(folder: str | Path) -> tuple[Path, ...]:
    """The weight files of a diffusers pipeline's folder.

    Raises:
        FileNotFoundError: no such folder, or no pipeline or no weights in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"engine must be {CLASSICAL}, {SMALL} or the folder of a diffusers pipeline; no folder {folder}"
        )
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"no diffusers pipeline (model_index.json) in {folder}")
    files = tuple(sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin")))
    if not files:
        raise FileNotFoundError(f"the diffusers pipeline in {folder} has no weights (*.safetensors)")
    return files


def diffusers_engine(config: AnchoredConfig) -> Engine:
    """An inpainting pipeline of diffusers from a local folder, on a GPU in half precision where there is one.

    Raises:
        FileNotFoundError: as :func:`pipeline_files`.
        ValueError: the folder's pipeline cannot be loaded (the sentence has diffusers' reason), or does not inpaint.
    """
    pipeline_files(config.engine)
    from diffusers import DiffusionPipeline

    device = best_device()
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            config.engine, local_files_only=True, dtype=torch.float16 if device.type == "cuda" else torch.float32
        )
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"engine {config.engine} is not a whole diffusers pipeline: {reason}") from error
    takes = set(inspect.signature(pipeline.__call__).parameters)
    if not {"image", "mask_image"} <= takes:
        name = type(pipeline).__name__
        raise ValueError(f"engine {config.engine} is a {name}, which takes no image with a mask: it cannot inpaint")
    if config.second_pass and "strength" not in takes:
        raise ValueError(f"engine {config.engine} denoises wholly or not at all: leave second_pass out")
    pipeline.set_progress_bar_config(disable=True)
    pipeline = pipeline.to(device)
    settings = {"num_inference_steps": config.steps, "guidance_scale": config.guidance}

    def paint(request: InpaintRequest) -> Tensor:
        return _ask(pipeline, takes, settings, request)

    return paint


def _ask(pipeline: Any, takes: set[str], settings: dict[str, Any], request: InpaintRequest) -> Tensor:
    """One call of a pipeline with what it understands; sides are padded by repetition to a multiple of 8."""
    height, width = request.known.shape
    extra = (0, -width % 8, 0, -height % 8)
    rgb = torch.nn.functional.pad(request.rgb[None], extra, mode="replicate")
    hole = torch.nn.functional.pad((~request.known).to(rgb)[None, None], extra, mode="replicate")
    call = settings | {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt or None,
        "image": rgb,
        "mask_image": hole,
        "height": rgb.shape[-2],
        "width": rgb.shape[-1],
        "generator": request.generator,
        "strength": request.strength,
        "output_type": "pt",
    }
    made = pipeline(**{k: v for k, v in call.items() if k in takes}).images
    return made[0, :, :height, :width].to(request.rgb)


def load_engine(config: AnchoredConfig) -> Engine:
    """The engine that the settings name.

    Raises:
        FileNotFoundError, ValueError: as :func:`diffusers_engine`.
    """
    if config.engine == SMALL:
        from onescene.stages.anchored.learned import learned_engine

        return learned_engine()
    return classical_engine if config.engine == CLASSICAL else diffusers_engine(config)
