"""Scenes that teach novel views: clean views, true views, and what a sparse reconstruction shows from there.

A folder holds one ``<name>.npz`` per scene, as Sec. 3.3 of One2Scene pairs them: ``clean_rgb`` uint8 [a, s, s, 3],
``true_rgb`` and ``rendered_rgb`` uint8 [t, s, s, 3] (holes black), perhaps ``whole_rgb`` (holes filled),
``clean_world_from_cam`` [a, 4, 4], ``clean_K`` [a, 3, 3], ``world_from_cam`` [t, 4, 4] and ``K`` [t, 3, 3]: OpenCV
axes, intrinsics divided by the side.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from onescene.data.panoramas import check_out_dir, write_arrays, write_json

MIN_COVERED = 0.1  # a render that shows less than this share of its pixels is empty, and teaches nothing
_DARK = 2  # brighter than this in any channel is shown [1/255]


@dataclass(frozen=True, kw_only=True)
class ViewScene:
    """One scene; all images are squares of one size.

    Attributes:
        name: Of its file.
        clean_rgb: Views without artefacts: anchors, or context frames of a clip.
        clean_world_from_cam: Their cameras, OpenCV axes.
        clean_K: Their intrinsics divided by the image's side.
        true_rgb: What should be seen.
        rendered_rgb: What the sparse reconstruction shows there, over black.
        world_from_cam: Cameras of both.
        K: Intrinsics of both.
        whole_rgb: The renders as ``stages/fill.py`` makes them whole; None = whoever made the scene could not.
    """

    name: str
    clean_rgb: UInt8[ndarray, "a s s 3"]
    clean_world_from_cam: Float32[ndarray, "a 4 4"]
    clean_K: Float32[ndarray, "a 3 3"]
    true_rgb: UInt8[ndarray, "t s s 3"]
    rendered_rgb: UInt8[ndarray, "t s s 3"]
    world_from_cam: Float32[ndarray, "t 4 4"]
    K: Float32[ndarray, "t 3 3"]
    whole_rgb: UInt8[ndarray, "t s s 3"] | None = None

    def __len__(self) -> int:
        return len(self.true_rgb)

    def renders(self, whole: bool) -> UInt8[ndarray, "t s s 3"]:
        """The renders, whole where that is asked for and known."""
        return self.whole_rgb if whole and self.whole_rgb is not None else self.rendered_rgb

    def arrays(self) -> dict[str, ndarray]:
        """What a file holds of it."""
        return {key: value for key in _ARRAYS if (value := getattr(self, key)) is not None}


PARAMETERS_NAME = "scenes.json"
_ARRAYS = tuple(f.name for f in fields(ViewScene) if f.name != "name")
_OF_TARGETS = ("true_rgb", "rendered_rgb", "whole_rgb", "world_from_cam", "K")


def shows_something(rendered: UInt8[ndarray, "h w 3"], least: float = MIN_COVERED) -> bool:
    """Whether a render covers at least a share of its pixels; renders that are all holes are left out."""
    return bool((rendered.max(axis=-1) > _DARK).mean() >= least)


def without_empty_renders(scene: ViewScene, least: float = MIN_COVERED) -> ViewScene:
    """The scene with only those true views whose render shows something."""
    keep = [i for i, rendered in enumerate(scene.rendered_rgb) if shows_something(rendered, least)]
    return replace(scene, **{name: value[keep] for name, value in scene.arrays().items() if name in _OF_TARGETS})


def pack_scenes(
    names: Iterable[str],
    make: Callable[[str], ViewScene | None],
    out_dir: str | Path,
    progress: Callable[[str, bool], None] = lambda name, kept: None,
    parameters: Mapping[str, Any] | None = None,
) -> int:
    """Writes scenes one by one; files that are there are kept, so an interrupted call goes on.

    Args:
        names: Of the scenes.
        make: Makes a scene of its name; None, or one without a true view, is left out.
        out_dir: Folder to write to.
        progress: Called with each name and whether there is a file of it.
        parameters: All that the scenes depend on, as JSON values; kept beside them in ``scenes.json``.

    Returns:
        How many scenes the folder now holds of those named.

    Raises:
        ValueError: ``out_dir`` is a file, or holds scenes that were made with other parameters.
    """
    out, count = check_out_dir(out_dir), 0
    if parameters is not None:
        _keep_parameters(out / PARAMETERS_NAME, dict(parameters))
    for name in names:
        path = out / f"{name}.npz"
        if not path.is_file():
            scene = make(name)
            scene = without_empty_renders(scene) if scene is not None else None
            if scene is not None and len(scene):
                out.mkdir(parents=True, exist_ok=True)
                write_arrays(path, scene.arrays())
        count += path.is_file()
        progress(name, path.is_file())
    return count


def _keep_parameters(path: Path, parameters: dict[str, Any]) -> None:
    """Notes what the scenes of a folder are made with; refuses others, as they would be mixed."""
    try:
        old = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        old = None
    if old is not None and old != parameters and any(path.parent.glob("*.npz")):
        changed = next(key for key in {**old, **parameters} if old.get(key) != parameters.get(key))
        got = f"{changed} {old.get(changed)!r}, not {parameters.get(changed)!r}"
        raise ValueError(f"{path.parent} holds scenes made with {got}: give another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, parameters)


def read_scene(path: str | Path) -> ViewScene:
    """One scene.

    Raises:
        ValueError: the file is damaged, or lacks an array.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            optional = {"whole_rgb"} - set(file.files)
            return ViewScene(name=path.stem, **{key: file[key] for key in _ARRAYS if key not in optional})
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} must be a packed scene of views, but it is damaged") from error


class SceneSet:
    """The scenes of folders, each read when it is asked for.

    Args:
        folders: Made by ``onescene data pairs`` or ``onescene data clips``.
        every: Every n-th of their scenes.

    Raises:
        FileNotFoundError: a folder holds none.
    """

    def __init__(self, *folders: str | Path, every: int = 1) -> None:
        self.paths: list[Path] = []
        for folder in folders:
            found = sorted(Path(folder).glob("*.npz"))
            if not found:
                raise FileNotFoundError(
                    f"folder must hold packed scenes of views (onescene data pairs), found none in {folder}"
                )
            self.paths += found
        self.paths = self.paths[::every]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ViewScene:
        return read_scene(self.paths[index])
