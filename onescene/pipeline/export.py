"""Export: the scene of a run as a file that other programs open, a page for a browser, or a folder to train from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from onescene.geometry.axes import Axes, axes_named, move_gaussians, move_points
from onescene.geometry.cubemap import face_cameras
from onescene.geometry.surface import MeshConfig, PointCloud, mesh_from_distance, points_from_distance
from onescene.io.atomic import atomic_folder, atomic_write_text
from onescene.io.cameras import load_camera_file
from onescene.io.colmap import write_colmap_groups
from onescene.io.gaussians import load_gaussians, save_gaussians
from onescene.io.images import load_distance, load_image, load_panorama, save_mask
from onescene.io.mesh_glb import save_mesh
from onescene.io.points_ply import save_points
from onescene.pipeline.holes import read_holes
from onescene.pipeline.layout import (
    ANCHORS,
    HOLES_FILE,
    PANORAMA_MAX_PX,
    anchor_files,
    cameras_file,
    distance_file,
    panorama_file,
    scaffold_file,
    scene_file,
    view_name,
)
from onescene.pipeline.pictures import load_of_size
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import is_up_to_date, read_record
from onescene.pipeline.steps.finish import page_step
from onescene.pipeline.workspace import refuse_steps_folder
from onescene.stages.views import ViewsConfig
from onescene.types import Cameras
from onescene.viewer import RunFiles, run_page

GAUSSIANS = ("ply", "compressed.ply", "spz", "splat", "sog", "glb")
FORMATS = (*GAUSSIANS, "html", "mesh", "points", "colmap")
_TARGETS = {"mesh": "mesh.glb", "points": "points.ply", "colmap": "colmap"}
_OWN_AXES = ("spz", "glb", "html", "mesh", "colmap")  # the format itself says where its axes point
_SHOWN = {"scene": scene_file, "scaffold": scaffold_file, "panorama": panorama_file, "cameras": cameras_file}
_POINTS = {"points": 500_000, "colmap": 100_000}  # where nobody says how many


@dataclass(frozen=True)
class ExportConfig:
    """How a scene is written."""

    axes: str = "opencv"  # of the program that takes the numbers as they are; see geometry/axes.py
    max_triangles: int | None = None  # of a mesh; None = 500,000
    max_points: int | None = None  # of a point cloud: None = 500,000; that a COLMAP folder begins with: 100,000


def default_target(out: Path, format: str) -> Path:
    """Where an export goes if nobody says otherwise: ``scene.ply``, ``mesh.glb``, ``points.ply``, ``colmap/``."""
    return out / _TARGETS.get(format, f"scene.{format}")


def export_scene(out: Path, format: str, target: Path, config: ExportConfig = ExportConfig()) -> Path:
    """Writes the scene of a run's folder, whole or not at all; returns ``target``.

    Args:
        out: The run's folder.
        format: One of ``FORMATS``: Gaussians in a file format, a page, ``mesh`` and ``points`` of the distance map, or
            ``colmap``.
        target: The file, or the folder for ``colmap``.
        config: Axes and budgets.

    Raises:
        FileNotFoundError: the run has not made what the format needs.
        FileExistsError: ``target`` of ``colmap`` is a folder with something else in it.
        ValueError: an unknown format or preset, a suffix that is not the format's, a setting that the format has not,
            or a target among what the run's steps made.
    """
    axes = _checked(format, target, config)
    refuse_steps_folder(target)
    if format in GAUSSIANS:
        return save_gaussians(move_gaussians(load_gaussians(scene_of(out)), axes), target)
    if format == "html":
        scene_of(out)
        return write_page(out, target)
    write: dict[str, Callable] = {"mesh": _write_mesh, "points": _write_points, "colmap": _write_colmap}
    return write[format](out, target, config)


def write_page(out: Path, target: Path) -> Path:
    """Writes the page of what a run has made so far, be it only a panorama; returns ``target``.

    Raises:
        FileNotFoundError: no such folder, or nothing in it that a page shows.
    """
    _must_be_a_folder(out)
    found = _shown(out)
    if not found.keys() - {"cameras"}:
        raise FileNotFoundError(f"nothing to show in {out}: run `onescene run PHOTO --out {out}` first")
    pictures = sorted(cameras_file(out).parent.glob("[0-9][0-9][0-9]*.png"))
    files = RunFiles(**found, images=tuple(pictures))
    return atomic_write_text(target, run_page(files, title=out.resolve().name))


def current_page(out: Path) -> Path:
    """A page of what lies in a run's folder now: its ``scene.html`` if that is made of it, else ``view.html``.

    Raises:
        FileNotFoundError: as :func:`write_page`.
    """
    page = out / "scene.html"
    parts = _shown(out)
    if page.is_file() and (not parts or (len(parts) == len(_SHOWN) and is_up_to_date(page_step(out), out))):
        return page  # of this run as it is, or all that is left of one
    return write_page(out, out / "view.html")


def _shown(out: Path) -> dict[str, Path]:
    """What a page shows and a run has, by the names of :class:`RunFiles`."""
    return {name: path for name, place in _SHOWN.items() if (path := place(out)).is_file()}


def scene_of(out: Path) -> Path:
    """The fitted scene of a run, or its scaffold where nothing was fitted.

    Raises:
        FileNotFoundError: no such folder, or no scene in it.
    """
    _must_be_a_folder(out)
    for path in (scene_file(out), scaffold_file(out)):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no scene in {out}: run `onescene run PHOTO --out {out}` first")


def _checked(format: str, target: Path, config: ExportConfig) -> Axes:
    """The axes to write in, once format, target and settings fit each other."""
    if format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {format!r}")
    suffix = Path(_TARGETS.get(format, f"x.{format}")).name.partition(".")[2]
    if suffix and not target.name.lower().endswith(f".{suffix}"):
        raise ValueError(f"--out must end in .{suffix} for --format {format}, got {target.name}")
    axes = axes_named(config.axes)
    if format in _OWN_AXES and axes.name != "opencv":
        raise ValueError(
            f"--axes must be opencv for --format {format}, got {axes.name}: the format says where its axes point, "
            "and programs turn it on opening"
        )
    if config.max_triangles is not None and format != "mesh":
        raise ValueError(f"--max-triangles is for --format mesh, got --format {format}")
    if config.max_points is not None and format not in ("points", "colmap"):
        raise ValueError(f"--max-points is for --format points or colmap, got --format {format}")
    return axes


def _must_be_a_folder(out: Path) -> None:
    if not out.is_dir():
        raise FileNotFoundError(f"no such folder: {out}")


def _made(out: Path, path: Path) -> Path:
    """A file of a run, once it is there."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path.relative_to(out)} in {out}: run `onescene run PHOTO --out {out}` first")
    return path


def _surface(out: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Panorama and distance map of a run."""
    _must_be_a_folder(out)
    panorama, distance = _made(out, panorama_file(out)), _made(out, distance_file(out))
    return load_panorama(panorama, max_height_px=PANORAMA_MAX_PX), load_distance(distance)


def _write_mesh(out: Path, target: Path, config: ExportConfig) -> Path:
    """The distance map as a mesh with the panorama on it."""
    panorama, distance = _surface(out)
    budget = MeshConfig() if config.max_triangles is None else MeshConfig(max_triangles=config.max_triangles)
    return save_mesh(mesh_from_distance(distance, budget), panorama, target)


def _points(out: Path, format: str, config: ExportConfig) -> PointCloud:
    """The distance map as points with the panorama's colours."""
    panorama, distance = _surface(out)
    return points_from_distance(panorama, distance, _POINTS[format] if config.max_points is None else config.max_points)


def _write_points(out: Path, target: Path, config: ExportConfig) -> Path:
    """The distance map as points."""
    points = _points(out, "points", config)
    return save_points(PointCloud(xyz=move_points(points.xyz, axes_named(config.axes)), rgb=points.rgb), target)


def _write_colmap(out: Path, target: Path, config: ExportConfig) -> Path:
    """A folder as trainers read it: ``images/``, ``sparse/0/*.bin`` and, where views have holes, ``masks/``.

    Anchors and novel views with their cameras; points of the distance map to begin with. A mask has its image's name
    and is black where the view shows what the inpainter filled in.
    """
    if target.is_dir() and any(target.iterdir()) and not (target / "sparse" / "0" / "cameras.bin").is_file():
        raise FileExistsError(f"--out must be a new folder or an earlier export, but {target} holds something else")
    points = _points(out, "colmap", config)
    anchors, views = _anchor_views(out), _novel_views(out)
    sources = {name: _made(out, source) for name, source in (anchors[0] | views[0]).items()}
    groups = [(list(files.values()), cameras) for files, cameras in (anchors, views) if cameras is not None]
    for files, cameras in groups:
        _check_pictures(files, cameras.hw)
    holes = cameras_file(out).with_name(HOLES_FILE)
    with atomic_folder(target) as folder:
        (folder / "images").mkdir()
        for name, source in sources.items():
            shutil.copyfile(source, folder / "images" / name)
        write_colmap_groups(
            [cameras for _, cameras in groups], folder / "sparse" / "0", list(sources), points=points, binary=True
        )
        if views[0] and holes.is_file():
            _write_masks(folder, list(anchors[0]), anchors[1].hw, list(views[0]), holes)
    return target


def _anchor_views(out: Path) -> tuple[dict[str, Path], Cameras]:
    """Files of the anchors by their names in the export, and their cameras."""
    files = anchor_files(out)
    first = _made(out, next(iter(files.values())))
    record = read_record(out, ANCHORS)
    known = record.made_from.get("parameters", {}) if record else {}
    fov_deg = float(known.get("anchor_fov_deg", RunSettings().anchor_fov_deg))
    return {f"anchor_{face}.png": path for face, path in files.items()}, face_cameras(
        load_image(first).shape[-1], fov_deg
    )


def _novel_views(out: Path) -> tuple[dict[str, Path], Cameras | None]:
    """Files of the novel views by their names in the export, and their cameras; nothing where none were made."""
    if not cameras_file(out).is_file():
        return {}, None
    found = load_camera_file(cameras_file(out))
    files = [cameras_file(out).parent / (name or view_name(v)) for v, name in enumerate(found.names)]
    return {f"view_{v:03d}.png": path for v, path in enumerate(files)}, found.cameras


def _check_pictures(files: list[Path], hw: tuple[int, int]) -> None:
    """Refuses pictures that are damaged, or of another size than their camera's."""
    for file in files:
        load_of_size(file, hw, str(file))


def _write_masks(folder: Path, anchors: list[str], hw: tuple[int, int], views: list[str], holes: Path) -> None:
    """``masks/``: white for all of an anchor, and for what Gaussians covered of a novel view."""
    (folder / "masks").mkdir()
    for name in anchors:
        save_mask(torch.ones(hw), folder / "masks" / name)
    alpha, _ = read_holes(holes, len(views))
    for name, covered in zip(views, alpha >= ViewsConfig().alpha_threshold, strict=True):
        save_mask(covered, folder / "masks" / name)
