"""Maps in other clothes: each image of a map's walls exchanged for one of some other wall of the same game.

Domain randomisation (Tobin et al. 2017) for depth: on walls that no artist matched to their room, only shapes, shadows
and perspective tell how far away something is. Geometry, baked light, sky and what alpha cuts out stay.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from onescene.data.maps.pk3 import IMAGE_SUFFIXES, PackFiles
from onescene.data.maps.shaders import Surface
from onescene.data.splits import split_of

FOLDER = "textures/"
NO_WALLS = re.compile("common|system|sky|skies|env|effect|fx|liquid|terrain|decal|pants|shirt")
# maps of normals, gloss, glow and the like, which lie beside an image under its name
BESIDE_AN_IMAGE = re.compile(r"_(norm|nm|gloss|spec|sm|glow|gm|bump|blend|luma|height|[bgr])$")


def wall_images(packs: PackFiles) -> list[list[str]]:
    """Names of a game's images of walls, floors and ceilings, a list per folder.

    Folders that a held-out or a validation map has for itself are left out.
    """
    folders: dict[str, list[str]] = {}
    for name in packs.names(FOLDER):
        folder, _, rest = name.removeprefix(FOLDER).partition("/")
        stem = rest.rsplit(".", 1)[0]
        ours = name.endswith(IMAGE_SUFFIXES) and stem and split_of(folder) == "train"
        if ours and not NO_WALLS.search(f"{folder}/{stem}") and not BESIDE_AN_IMAGE.search(stem):
            folders.setdefault(folder, []).append(name)
    return list(folders.values())


def exchange_images(surfaces: list[Surface], packs: PackFiles, rng: np.random.Generator) -> list[Surface]:
    """The same surfaces with other images.

    Args:
        surfaces: As the map has them.
        packs: The game's packs, where the images come from: a folder as likely as any other, then an image of it.
        rng: Randomness.

    Returns:
        Every solid surface that has an image shows another; surfaces of one image share the new one, and none glows, as
        that was painted for the image that is gone. All others are as they were.
    """
    folders = wall_images(packs)
    if not folders:
        return surfaces
    exchanged: dict[str, str] = {}
    for image in sorted({s.image for s in surfaces if s.kind == "solid" and s.image}):
        folder = folders[rng.integers(len(folders))]
        exchanged[image] = folder[rng.integers(len(folder))]
    return [
        replace(s, image=exchanged[s.image], glow=None) if s.kind == "solid" and s.image in exchanged else s
        for s in surfaces
    ]
