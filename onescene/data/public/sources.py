"""The public data sets that are known: where their files lie, what their numbers mean, who is held out.

No file of theirs is shipped or fetched; each has terms of its own, to be accepted where it is handed out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from onescene.data.public.decode import naming, panorama_from_cassini, read_colour, read_depth_npz, read_depth_png
from onescene.data.splits import Split

Colour, Depth = UInt8[ndarray, "height width 3"], Float32[ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The two files of a panorama.

    Attributes:
        scene: House, building part or drive that it belongs to; frames of one scene share their walls.
        rgb: Its colours.
        depth: Its depth, where the layout has it; it may be missing.
        split: Where its makers put it; None where they do not say.
    """

    scene: str
    rgb: Path
    depth: Path
    split: Split | None


@dataclass(frozen=True, kw_only=True)
class PublicSource:
    """A data set.

    Attributes:
        name: As callers name it.
        layout: Where a panorama's files lie below the folder, for sentences.
        cap_m: Distances beyond are left out, as in the papers [m].
        frames: Finds the frames below a folder.
        read_rgb: Reads a panorama's colours.
        read_depth: Reads its distances along the rays [m]; NaN = not known, inf = the renderer met nothing.
    """

    name: str
    layout: str
    cap_m: float
    frames: Callable[[Path], Iterable[Frame]]
    read_rgb: Callable[[Path], Colour]
    read_depth: Callable[[Path], Depth]


# --- Structured3D ------------------------------------------------------------------------------------------------
# Zheng et al., ECCV 2020: rendered rooms. 3500 scenes, of which its authors train on the first 3000, validate on the
# next 250 and test on the last 250. Depth in millimetres; 0 where nothing was rendered.


def _structured3d_frames(root: Path) -> Iterable[Frame]:
    for rgb in sorted(root.glob("scene_*/2D_rendering/*/panorama/full/rgb_rawlight.png")):
        scene = rgb.parents[4].name
        number = int(digits.group()) if (digits := re.search(r"\d+$", scene)) else 0
        split: Split = "train" if number < 3000 else "validation" if number < 3250 else "heldout"
        yield Frame(scene=scene, rgb=rgb, depth=rgb.with_name("depth.png"), split=split)


# --- Deep360 -----------------------------------------------------------------------------------------------------
# Li et al. (MODE), ECCV 2022: rendered streets, four cameras. The depth is that of camera 1, whose picture of the pair
# 1-2 lies beside it; both in Cassini's projection, 1024 x 512. The renderer's far plane is at 1000 m.
_DEEP360_SPLITS: dict[str, Split] = {"training": "train", "validation": "validation", "testing": "heldout"}
_FAR_PLANE_M = 1000.0


def _deep360_frames(root: Path) -> Iterable[Frame]:
    for rgb in sorted(root.glob("ep*_500frames/*/rgb/*_12_rgb1.png")):
        part = rgb.parents[1]
        if part.name in _DEEP360_SPLITS:
            depth = part / "depth" / rgb.name.replace("_12_rgb1.png", "_depth.npz")
            yield Frame(scene=f"{part.parent.name}_{part.name}", rgb=rgb, depth=depth, split=_DEEP360_SPLITS[part.name])


def _deep360_rgb(path: Path) -> Colour:
    image = read_colour(path)
    with naming(path):
        return panorama_from_cassini(image, mode="bilinear")


def _deep360_depth(path: Path) -> Depth:
    metres = read_depth_npz(path)
    with naming(path):
        metres = panorama_from_cassini(metres, mode="nearest")
    return np.where(metres >= _FAR_PLANE_M, np.float32(np.inf), np.where(metres > 0, metres, np.float32(np.nan)))


# --- Matterport3D ------------------------------------------------------------------------------------------------
# Chang et al., 3DV 2017: scanned homes. It is handed out as cube faces; panoramas of colour and depth are stitched from
# them by the tools of UniFuse (Jiang et al., RA-L 2021), whose folders the papers use. Quarters of a millimetre; 0
# where the scanner saw nothing. Who is held out stands in scenes_{train,val,test}.txt of the benchmark.
_MATTERPORT_LISTS: dict[str, Split] = {"train": "train", "val": "validation", "test": "heldout"}


def _matterport3d_frames(root: Path) -> Iterable[Frame]:
    splits: dict[str, Split] = {}
    for name, split in _MATTERPORT_LISTS.items():
        listed = root / f"scenes_{name}.txt"
        if listed.is_file():
            splits |= dict.fromkeys(listed.read_text("utf-8", "replace").split(), split)
    for rgb in sorted(root.glob("*/pano_skybox_color/*.jpg")):
        scene = rgb.parents[1]
        depth = scene / "pano_depth" / f"{rgb.stem}.png"
        yield Frame(scene=scene.name, rgb=rgb, depth=depth, split=splits.get(scene.name))


# --- Stanford2D3D ------------------------------------------------------------------------------------------------
# Armeni et al., 2017: scanned offices in six areas; fold 1, the one that papers on panoramas use, tests on area 5.
# Steps of 1/512 m; 65535 where the scanner saw nothing (0 never occurs in whole files, and is no distance).


def _stanford2d3d_frames(root: Path) -> Iterable[Frame]:
    for rgb in sorted(root.glob("area_*/pano/rgb/*_rgb.png")):
        area = rgb.parents[2].name
        depth = rgb.parents[1] / "depth" / rgb.name.replace("_rgb.png", "_depth.png")
        yield Frame(scene=area, rgb=rgb, depth=depth, split="heldout" if area.startswith("area_5") else "train")


_ALL = (
    PublicSource(
        name="structured3d",
        layout="scene_*/2D_rendering/*/panorama/full/{rgb_rawlight,depth}.png",
        cap_m=10.0,
        frames=_structured3d_frames,
        read_rgb=read_colour,
        read_depth=lambda path: read_depth_png(path, 1000, (0,)),
    ),
    PublicSource(
        name="deep360",
        layout="ep*_500frames/{training,validation,testing}/{rgb/*_12_rgb1.png,depth/*_depth.npz}",
        cap_m=100.0,
        frames=_deep360_frames,
        read_rgb=_deep360_rgb,
        read_depth=_deep360_depth,
    ),
    PublicSource(
        name="matterport3d",
        layout="*/{pano_skybox_color/*.jpg,pano_depth/*.png}",
        cap_m=10.0,
        frames=_matterport3d_frames,
        read_rgb=read_colour,
        read_depth=lambda path: read_depth_png(path, 4000, (0,)),
    ),
    PublicSource(
        name="stanford2d3d",
        layout="area_*/pano/{rgb/*_rgb.png,depth/*_depth.png}",
        cap_m=10.0,
        frames=_stanford2d3d_frames,
        read_rgb=read_colour,
        read_depth=lambda path: read_depth_png(path, 512, (0, 65535)),
    ),
)
SOURCES = MappingProxyType({source.name: source for source in _ALL})


def source_named(name: str) -> PublicSource:
    """The data set of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in SOURCES:
        raise ValueError(f"dataset must be one of {', '.join(SOURCES)}, got {name!r}")
    return SOURCES[name]
