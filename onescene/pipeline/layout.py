"""Where everything lies in a run's folder."""

from __future__ import annotations

from pathlib import Path

from onescene.geometry.cubemap import FACES

PANORAMA_MAX_PX = 2048  # rows; a larger panorama that is given is reduced
HOLES_FILE = "holes.npz"  # alpha and depth of the novel views, for step 05
PANORAMA, ANCHORS, SCAFFOLD, VIEWS, SCENE = "01_panorama", "02_anchors", "03_scaffold", "04_views", "05_scene"
FOLDERS = (PANORAMA, ANCHORS, SCAFFOLD, VIEWS, SCENE)


def panorama_file(out: Path) -> Path:
    """The panorama of a run."""
    return out / PANORAMA / "panorama.png"


def anchor_files(out: Path) -> dict[str, Path]:
    """The six anchors, by the name of their face."""
    return {face: out / ANCHORS / f"{face}.png" for face in FACES}


def scaffold_file(out: Path) -> Path:
    """The Gaussians of the scaffold."""
    return out / SCAFFOLD / "gaussians.ply"


def distance_file(out: Path) -> Path:
    """The distance map of the scaffold."""
    return out / SCAFFOLD / "distance.npy"


def cameras_file(out: Path) -> Path:
    """The cameras of the novel views."""
    return out / VIEWS / "transforms.json"


def view_name(index: int) -> str:
    """File name of a view: ``007.png``."""
    return f"{index:03d}.png"


def scene_file(out: Path) -> Path:
    """The Gaussians fitted to anchors and views."""
    return out / SCENE / "gaussians.ply"
