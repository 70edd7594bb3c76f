"""The three prompts of WorldRecipe (W2): the scene without its subject, the sky or ceiling, the ground or floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

# The subject is in the photo already: a prompt that named it would repeat it in every view.
QUESTIONS = {
    "scene": "a wide view of a place with",
    "sky": "looking straight up, the sky or the ceiling is",
    "ground": "looking straight down, the ground or the floor is",
}
_LONGEST = 30  # new tokens of an answer


@dataclass(frozen=True)
class Prompts:
    """What is to be seen; empty: not said."""

    scene: str = ""
    sky: str = ""
    ground: str = ""

    def or_else(self, other: Prompts) -> Prompts:
        """These, and the other's where these are empty."""
        return Prompts(self.scene or other.scene, self.sky or other.sky, self.ground or other.ground)


def describe(photo: Float[Tensor, "3 height width"], folder: str) -> Prompts:
    """Prompts of a photo by an image-to-text model of transformers (BLIP's kind) from a local folder.

    Args:
        photo: RGB in [0, 1].
        folder: With the model and its processor.

    Raises:
        FileNotFoundError: no such folder, or no model in it.
        ValueError: the model cannot be loaded or does not caption; the sentence has transformers' reason.
    """
    ask = load_captioner(folder)
    pixels = (photo.permute(1, 2, 0).clamp(0, 1).cpu().numpy() * 255).round().astype(np.uint8)
    return Prompts(**{name: ask(pixels, question) for name, question in QUESTIONS.items()})


def load_captioner(folder: str) -> Callable[[np.ndarray, str], str]:
    """A function that goes on with the beginning of a sentence about a picture [h, w, 3] of bytes.

    Raises:
        FileNotFoundError, ValueError: as :func:`describe`.
    """
    if not (Path(folder) / "config.json").is_file():
        raise FileNotFoundError(f"caption_model must be the folder of a transformers model; no config.json in {folder}")
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"caption_model {folder} cannot be loaded: {reason}") from error

    def ask(pixels: np.ndarray, beginning: str) -> str:
        inputs = processor(images=pixels, text=beginning, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=_LONGEST, do_sample=False)
        return processor.decode(tokens[0], skip_special_tokens=True).strip()

    return ask
