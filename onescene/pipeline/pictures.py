"""Folders of pictures: written as a whole, read as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.io.images import load_image, save_image
from onescene.pipeline.workspace import open_workspace, refuse_steps_folder

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


def write_pictures(pictures: Iterable[tuple[str, Float[Tensor, "3 h w"]]], out: str | Path) -> None:
    """Writes named pictures into a folder, which is made if need be and removed again if nothing came of it.

    Raises:
        NotADirectoryError, PermissionError, FolderBusyError: as :func:`open_workspace`.
        ValueError: as :func:`refuse_steps_folder`.
    """
    refuse_steps_folder(Path(out))
    with open_workspace(out) as folder:
        for name, picture in pictures:
            save_image(picture, folder / name)


def load_of_size(file: Path, hw: tuple[int, int], told: str) -> Float[Tensor, "3 h w"]:
    """A picture that has to have its camera's size; the sentence calls it ``told``.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_image`, or it has another size.
    """
    picture = load_image(file)
    found = tuple(picture.shape[-2:])
    if found != hw:
        raise ValueError(f"{told} must have the size of its camera, {hw[1]} x {hw[0]}, got {found[1]} x {found[0]}")
    return picture


def read_pairs(predicted: str | Path, true: str | Path) -> Iterable[tuple[str, Tensor, Tensor]]:
    """Pictures of the same name in two folders, one pair at a time.

    Raises:
        FileNotFoundError: a folder is missing, or holds no picture.
        ValueError: the folders' names or a pair's sizes differ.
    """
    names = _names(Path(predicted))
    if names != _names(Path(true)):
        differing = sorted(set(names) ^ set(_names(Path(true))))
        raise ValueError(f"the folders must hold pictures of the same names, but only one has {differing[0]}")
    for name in names:
        a, b = load_image(Path(predicted) / name), load_image(Path(true) / name)
        if a.shape != b.shape:
            raise ValueError(f"{name} must have one size in both folders, got {_hw(a)} and {_hw(b)}")
        yield name, a, b


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not names:
        raise FileNotFoundError(f"no picture in {folder}")
    return names


def _hw(picture: torch.Tensor) -> str:
    return f"{picture.shape[-2]}x{picture.shape[-1]}"
