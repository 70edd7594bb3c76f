"""How the surfaces of a home look: photographs of materials from a folder, paint and stripes drawn here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from onescene.data.maps.textures import decode_image

# what a texture's file name says it is good for
ROLES = {
    "floor": re.compile(r"wood|plank|parquet|floor|marble|concrete|carpet|tiles_"),
    "wall": re.compile(r"drywall|stucco|brick|plaster|wallpaper|cinder|concrete_\d|wood_planks|white"),
    "ceiling": re.compile(r"ceiling|drywall|white"),
    "wet": re.compile(r"floor_tiles|marble|tiles_white|concrete_tiles"),
    "ground": re.compile(r"grass|asphalt|rock|concrete_tiles"),
    "front": re.compile(r"brick|stucco|cinder|concrete"),
}
PICTURES = "portraits"  # folder of pictures to hang on walls
SUFFIXES = (".png", ".jpg", ".jpeg")
DRAWN_PX = 128
PAINTED = {"floor": 0.25, "wall": 0.7, "ceiling": 0.85, "wet": 0.1, "ground": 0.1, "front": 0.3}


@dataclass(frozen=True, kw_only=True)
class Look:
    """The image of a surface.

    Attributes:
        image: RGBA uint8 [h, w, 4].
        repeat_m: Length of one repeat [m]; None = texture coordinates as they are.
        shines: It gives light of its own.
    """

    image: np.ndarray
    repeat_m: float | None = None
    shines: bool = False


@dataclass(frozen=True)
class Textures:
    """Images by role, and pictures for walls."""

    by_role: dict[str, list[np.ndarray]]
    pictures: list[np.ndarray]


def read_textures(folder: str | Path | None) -> Textures:
    """Images below a folder, by what their names say; none where there is no folder.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if folder is None:
        return Textures({role: [] for role in ROLES}, [])
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    by_role: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
    pictures = []
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES):
        hung = PICTURES in path.parts
        roles = [role for role, words in ROLES.items() if words.search(path.stem.lower())]
        image = decode_image(path.read_bytes()) if hung or roles else None
        if image is None:
            continue
        if hung:
            pictures.append(image)
            continue
        for role in roles:
            by_role[role].append(image)
    return Textures(by_role, pictures)


def paint(rng: np.random.Generator, low: float = 0.55, high: float = 0.95) -> np.ndarray:
    """A colour of paint, RGB in [0, 1]: mostly pale, now and then strong."""
    value = rng.uniform(low, high)
    saturation = rng.choice([rng.uniform(0.0, 0.12), rng.uniform(0.1, 0.35), rng.uniform(0.3, 0.7)], p=[0.6, 0.3, 0.1])
    hsv = np.array([[[rng.uniform(0, 360), saturation, value]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)


def drawn(rng: np.random.Generator, colour: np.ndarray, grain: float, stripes: bool = False) -> np.ndarray:
    """RGBA of a painted surface: clouds and grain in its brightness, perhaps stripes; it repeats without a step."""
    shade = np.zeros((DRAWN_PX, DRAWN_PX))
    for octave in range(6):
        n = 2 ** (octave + 1)
        coarse = np.pad(rng.normal(size=(n, n)), 2, mode="wrap").astype(np.float32)
        scale = DRAWN_PX // n
        fine = cv2.resize(coarse, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        shade += fine[2 * scale : -2 * scale, 2 * scale : -2 * scale] * grain * 0.75**octave
    if stripes:
        shade += 0.08 * np.sign(np.sin(np.arange(DRAWN_PX) / DRAWN_PX * 2 * np.pi * rng.integers(2, 9)))
    rgb = np.clip(colour * (1 + shade[..., None]), 0, 1)
    return np.dstack([(rgb * 255).astype(np.uint8), np.full((DRAWN_PX, DRAWN_PX), 255, np.uint8)])


def pick_look(textures: Textures, role: str, rng: np.random.Generator) -> Look:
    """A look for a surface: a photograph in another tint, or paint."""
    images = textures.by_role[role]
    if not images or rng.random() < PAINTED[role]:
        low, high = {"floor": (0.25, 0.75), "ceiling": (0.8, 0.97), "ground": (0.3, 0.6)}.get(role, (0.55, 0.95))
        stripes = role == "wall" and rng.random() < 0.15
        return Look(
            image=drawn(rng, paint(rng, low, high), rng.uniform(0.0, 0.012), stripes), repeat_m=rng.uniform(0.5, 2)
        )
    image = images[rng.integers(len(images))].astype(np.float64)
    tint = rng.uniform(0.75, 1.15) * (1 + rng.uniform(-0.08, 0.08, 3))
    image[..., :3] = np.clip(image[..., :3] * tint, 0, 255)
    if rng.random() < 0.5:
        image = image.swapaxes(0, 1)
    return Look(image=image.astype(np.uint8), repeat_m=rng.uniform(0.7, 2.2))
