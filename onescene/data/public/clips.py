"""DL3DV-10K and RealEstate10K: posed clips, read from the folders that their makers hand out.

DL3DV-10K (Ling et al., CVPR 2024): ``<1K..11K>/<hash>/{transforms.json, images_4/frame_00001.png}``, nerfstudio's
OpenGL cameras of the full size with OpenCV's distortion, which is taken out here. Scenes of its benchmark, whose files
lie in a folder ``nerfstudio``, are held out.

RealEstate10K (Zhou et al., SIGGRAPH 2018): ``{train,test}/<clip>.txt``, a line with the video's address, then per
frame its time [microseconds], fx fy cx cy divided by the size, two zeros, and camera-from-world, row by row. Its
makers hand out no pictures: frames are looked for in ``frames/{train,test}/<clip>/<time>.{png,jpg}``.

Their terms are to be accepted where they are handed out; no file of theirs is shipped or fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray

from onescene.data.public.decode import read_colour
from onescene.data.splits import Split, check_split
from onescene.data.view_scenes import ViewScene
from onescene.geometry.checks import check_pinholes, check_poses
from onescene.geometry.plucker import camera_distance

_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # y and z axes of the camera, OpenGL against OpenCV
_DEGREES_PER_UNIT = 100.0  # rotation [degrees] and distance in one number, as the release weighs them


@dataclass(frozen=True, kw_only=True)
class PosedClip:
    """The frames of a clip with their cameras; nothing is read yet.

    Attributes:
        name: Of the clip.
        split: Where its makers put it.
        frames: Pictures.
        world_from_cam: OpenCV axes.
        K: Intrinsics divided by the picture's width and height.
        distortion: k1, k2, p1, p2 of OpenCV's model; zeros = a pinhole.
    """

    name: str
    split: Split
    frames: tuple[Path, ...]
    world_from_cam: Float32[ndarray, "n 4 4"]
    K: Float32[ndarray, "n 3 3"]
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def square(self, index: int, px: int, render: Path | None = None) -> tuple[UInt8[ndarray, "px px 3"], ndarray]:
        """The middle square of a frame without distortion, reduced to ``px`` pixels, and its intrinsics.

        Args:
            index: Which frame.
            px: Side [pixels].
            render: A picture at the same camera to take instead, without distortion already.

        Raises:
            FileNotFoundError, ValueError: the picture is missing or damaged.
        """
        image = read_colour(render or self.frames[index])
        height, width = image.shape[:2]
        K = self.K[index].astype(np.float64) * np.array([[width], [height], [1.0]])
        if render is None and any(self.distortion):
            image = cv2.undistort(image, K, np.array(self.distortion))
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
        how = cv2.INTER_AREA if side >= px else cv2.INTER_LINEAR
        K[0, 2], K[1, 2] = K[0, 2] - left, K[1, 2] - top
        normalised = (K / np.array([[side], [side], [1.0]])).astype(np.float32)
        return cv2.resize(image, (px, px), interpolation=how), normalised


def _dl3dv(root: Path) -> Iterable[PosedClip]:
    for path in sorted(root.rglob("transforms.json")):
        folder = path.parent
        named = folder.parent if folder.name in ("nerfstudio", "colmap") else folder
        pictures = next((p for n in (4, 8, 2) if (p := folder / f"images_{n}").is_dir()), folder / "images")
        try:
            content = json.loads(path.read_text("utf-8"))
            rows = sorted(content["frames"], key=lambda row: row["file_path"])
            files = [pictures / Path(row["file_path"]).name for row in rows]
            there = [i for i, file in enumerate(files) if file.is_file()]
            poses = np.array([rows[i]["transform_matrix"] for i in there], np.float64).reshape(-1, 4, 4) @ _OPENGL
            w, h = float(content["w"]), float(content["h"])
            pinhole = [content["fl_x"] / w, content["fl_y"] / h, content["cx"] / w, content["cy"] / h]
            distortion = tuple(float(content.get(k, 0.0)) for k in ("k1", "k2", "p1", "p2"))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{path} must be a transforms.json of DL3DV-10K, got {error!r}") from error
        if not np.isfinite(distortion).all():
            raise ValueError(f"{path} must have a finite distortion, got {distortion}")
        pinholes = _checked(path, poses, np.array([pinhole] * len(there), np.float64).reshape(-1, 4), there)
        yield PosedClip(
            name=named.name,
            split="heldout" if folder.name == "nerfstudio" else "train",
            frames=tuple(files[i] for i in there),
            world_from_cam=poses.astype(np.float32),
            K=_intrinsics(pinholes),
            distortion=distortion,
        )


def _realestate10k(root: Path) -> Iterable[PosedClip]:
    splits: dict[str, Split] = {"train": "train", "test": "heldout"}
    for part, split in splits.items():
        for path in sorted((root / part).glob("*.txt")):
            try:
                lines = path.read_text("utf-8").splitlines()[1:]
                rows = np.array([[float(v) for v in line.split()] for line in lines if line.strip()]).reshape(-1, 19)
            except (ValueError, UnicodeDecodeError) as error:
                raise ValueError(f"{path} must hold 19 numbers a line, as RealEstate10K has them") from error
            if not np.isfinite(rows[:, 0]).all():
                raise ValueError(f"{path} must begin every line with its frame's time, got a NaN or an infinity")
            folder = root / "frames" / part / path.stem
            files = [
                next((f for s in (".png", ".jpg") if (f := folder / f"{int(t)}{s}").is_file()), None)
                for t in rows[:, 0]
            ]
            there = [i for i, file in enumerate(files) if file is not None]
            cam_from_world = np.tile(np.eye(4), (len(there), 1, 1))
            cam_from_world[:, :3] = rows[there, 7:].reshape(-1, 3, 4)
            pinholes = _checked(path, cam_from_world, rows[there, 1:5], there)
            yield PosedClip(
                name=path.stem,
                split=split,
                frames=tuple(files[i] for i in there),
                world_from_cam=np.linalg.inv(cam_from_world).astype(np.float32),
                K=_intrinsics(pinholes),
            )


def _checked(path: Path, poses: ndarray, pinholes: ndarray, numbers: list[int]) -> ndarray:
    """The intrinsics, after both were found to be a camera's; ``numbers`` = of the file's frames."""

    def told(index: int) -> str:
        return f"{path}: frame {numbers[index]}"

    check_poses(torch.from_numpy(poses), told)
    check_pinholes(torch.from_numpy(pinholes), told)
    return pinholes


def _intrinsics(pinholes: ndarray) -> Float32[ndarray, "n 3 3"]:
    """Matrices of rows fx, fy, cx, cy."""
    K = np.tile(np.eye(3, dtype=np.float32), (len(pinholes), 1, 1))
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2] = pinholes.T
    return K


CLIPS = {"dl3dv": _dl3dv, "realestate10k": _realestate10k}


def read_clips(dataset: str, root: str | Path, split: str | None = None) -> list[PosedClip]:
    """The clips of a data set that have pictures.

    Args:
        dataset: ``dl3dv`` or ``realestate10k``.
        root: The folder that holds its files.
        split: ``train`` or ``heldout``; None = all that is there.

    Raises:
        FileNotFoundError: no such folder, or no clip with pictures of that split in it.
        ValueError: an unknown data set or split, or a damaged camera file.
    """
    if dataset not in CLIPS:
        raise ValueError(f"dataset must be one of {', '.join(CLIPS)}, got {dataset!r}")
    if split is not None:
        check_split(split)
    if not Path(root).is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    found = [clip for clip in CLIPS[dataset](Path(root)) if split in (None, clip.split) and clip.frames]
    if not found:
        what = "no clip with pictures" if split is None else f"no clip with pictures of the split {split}"
        raise FileNotFoundError(f"{what} in {root}")
    return found


@dataclass(frozen=True)
class ClipConfig:
    """Which frames of a clip become a scene."""

    px: int = 256  # side of the squares [pixels]
    span: int = 60  # frames that a scene reaches over
    clean: int = 5  # context frames, evenly over the span: what the sparse reconstruction was made from
    targets: int = 8  # true views, those farthest from any context frame

    def __post_init__(self) -> None:
        if min(self.px, self.span, self.clean, self.targets) < 1:
            raise ValueError(f"px, span, clean and targets must be >= 1, got {self}")


def choose_frames(clip: PosedClip, config: ClipConfig) -> tuple[list[int], list[int]]:
    """Context frames spread evenly over the middle of a clip, and the frames that deviate most from all of them.

    Returns:
        Indices of the context frames and of the targets, both in the clip's order.
    """
    count = len(clip.frames)
    first = max(0, (count - config.span) // 2)
    window = list(range(first, min(count, first + config.span)))
    clean = sorted({window[round(i)] for i in np.linspace(0, len(window) - 1, min(config.clean, len(window)))})
    rest = [i for i in window if i not in clean]
    if not rest:
        return clean, []
    poses = torch.from_numpy(clip.world_from_cam)
    degrees, distance = camera_distance(poses[rest], poses[clean])
    away = (degrees + _DEGREES_PER_UNIT * distance).amin(dim=1)
    chosen = away.argsort(descending=True, stable=True)[: config.targets]
    return clean, sorted(rest[int(i)] for i in chosen)


def scene_of_clip(clip: PosedClip, renders: str | Path, config: ClipConfig) -> ViewScene | None:
    """A scene of a clip, with the renders that a feed-forward reconstruction made of its context frames.

    Args:
        clip: The clip.
        renders: Folder with ``<clip>/<frame's stem>.png``: what the reconstruction shows at the frames' cameras, over
            black and without distortion.
        config: Which frames.

    Returns:
        The scene; None if no target has a render.

    Raises:
        ValueError: a picture is damaged.
    """
    clean, targets = choose_frames(clip, config)
    shown = {i: Path(renders) / clip.name / f"{clip.frames[i].stem}.png" for i in targets}
    targets = [i for i in targets if shown[i].is_file()]
    if not targets:
        return None
    context, true = ([clip.square(i, config.px) for i in part] for part in (clean, targets))
    rendered = [clip.square(i, config.px, shown[i])[0] for i in targets]
    return ViewScene(
        name=clip.name,
        clean_rgb=np.stack([rgb for rgb, _ in context]),
        clean_world_from_cam=clip.world_from_cam[clean],
        clean_K=np.stack([K for _, K in context]),
        true_rgb=np.stack([rgb for rgb, _ in true]),
        rendered_rgb=np.stack(rendered),
        world_from_cam=clip.world_from_cam[targets],
        K=np.stack([K for _, K in true]),
    )
