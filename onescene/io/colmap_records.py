"""Records of COLMAP's ``cameras`` and ``images`` files, text and binary, checked as they are read."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PARAMETERS = {  # models in the order of COLMAP's ids -> number of parameters
    **{"SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8, "OPENCV_FISHEYE": 8},
    **{"FULL_OPENCV": 12, "FOV": 5, "SIMPLE_RADIAL_FISHEYE": 4, "RADIAL_FISHEYE": 5, "THIN_PRISM_FISHEYE": 12},
}
MODEL_IDS = tuple(_PARAMETERS)
_MAX_BYTES = 4 << 30
_POINT_BYTES = 24  # x, y and the id of a point
_LONGEST_NAME = 4096


@dataclass(frozen=True, kw_only=True)
class ColmapCamera:
    """A lens: sizes and parameters in pixels."""

    id: int
    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ColmapImage:
    """A view: the motion world-to-camera (quaternion wxyz, translation) and the lens it was taken with."""

    id: int
    quat: tuple[float, ...]
    translation: tuple[float, ...]
    camera_id: int
    name: str


class FileBytes:
    """Reads a binary file front to back and says where it ends too soon."""

    def __init__(self, path: Path) -> None:
        _refuse_huge(path)
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, form: str) -> tuple:
        """The next values."""
        layout = struct.Struct("<" + form)
        if self.at + layout.size > len(self.data):
            raise ValueError(f"{self.path} is truncated: it ends within a record")
        self.at += layout.size
        return layout.unpack_from(self.data, self.at - layout.size)

    def name(self) -> str:
        """The next zero-terminated text."""
        end = self.data.find(b"\0", self.at, self.at + _LONGEST_NAME)
        if end < 0:
            raise ValueError(f"{self.path} is damaged: a name in it does not end")
        text = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text

    def skip(self, size: int) -> None:
        """Passes over so many bytes."""
        if self.at + size > len(self.data):
            raise ValueError(f"{self.path} is truncated: it ends within a record")
        self.at += size

    def skip_points(self) -> None:
        """Passes over the points of an image."""
        count = self.take("Q")[0]
        if self.at + count * _POINT_BYTES > len(self.data):
            raise ValueError(f"{self.path} is truncated: {count} points promised, the file ends before")
        self.at += count * _POINT_BYTES


def read_binary_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Lenses of ``cameras.bin`` by their ids."""
    data = FileBytes(path)
    found = {}
    for _ in range(data.take("Q")[0]):
        camera_id, model_id, width, height = data.take("iiQQ")
        if not 0 <= model_id < len(MODEL_IDS):
            raise ValueError(f"{path}: camera {camera_id} is of model {model_id}, expected 0 to {len(MODEL_IDS) - 1}")
        model = MODEL_IDS[model_id]
        parameters = data.take(f"{_PARAMETERS[model]}d")
        found[camera_id] = _checked(ColmapCamera(**_named(camera_id, model, width, height, parameters)), path)
    return found


def read_binary_images(path: Path) -> list[ColmapImage]:
    """Views of ``images.bin``."""
    data = FileBytes(path)
    found = []
    for _ in range(data.take("Q")[0]):
        image_id, *motion, camera_id = data.take("i7di")
        name = data.name()
        data.skip_points()
        found.append(_image(image_id, motion, camera_id, name, path))
    return found


def read_text_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Lenses of ``cameras.txt`` by their ids."""
    found = {}
    for number, line in numbered_lines(path):
        words = line.split()
        if not words:
            continue
        try:
            camera_id, model, width, height = int(words[0]), words[1], int(words[2]), int(words[3])
            parameters = tuple(map(float, words[4:]))
        except (ValueError, IndexError) as error:
            raise unreadable(path, number, line) from error
        if model not in _PARAMETERS or len(parameters) != _PARAMETERS[model]:
            raise unreadable(path, number, line)
        found[camera_id] = _checked(ColmapCamera(**_named(camera_id, model, width, height, parameters)), path)
    return found


def read_text_images(path: Path) -> list[ColmapImage]:
    """Views of ``images.txt``: two lines each, of which the second, the points, may be empty."""
    found = []
    lines = numbered_lines(path)
    for number, line in lines:
        words = line.split(maxsplit=9)
        if not words:
            continue
        try:
            motion = list(map(float, words[1:8]))
            image = _image(int(words[0]), motion, int(words[8]), words[9].strip(), path)
        except (ValueError, IndexError) as error:
            if str(error).startswith(str(path)):
                raise
            raise unreadable(path, number, line) from error
        next(lines, None)
        found.append(image)
    return found


def _refuse_huge(path: Path) -> None:
    """Refuses a file that no scene would need."""
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path} is no COLMAP file: it is larger than {_MAX_BYTES >> 30} GiB")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments, one at a time."""
    _refuse_huge(path)
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.lstrip().startswith("#"):
                yield number, line


def unreadable(path: Path, number: int, line: str) -> ValueError:
    """The error about a line."""
    return ValueError(f"{path} line {number} can not be read: `{' '.join(line.split())[:80]}`")


def _named(camera_id: int, model: str, width: int, height: int, parameters: tuple[float, ...]) -> dict:
    """Fields of a lens."""
    return {"id": camera_id, "model": model, "width": width, "height": height, "parameters": parameters}


def _checked(camera: ColmapCamera, path: Path) -> ColmapCamera:
    """The lens if its parameters are finite."""
    if not all(map(math.isfinite, camera.parameters)):
        raise ValueError(f"{path}: camera {camera.id} must have finite parameters, got {list(camera.parameters)}")
    return camera


def _image(image_id: int, motion: list[float], camera_id: int, name: str, path: Path) -> ColmapImage:
    """A view if its motion is finite."""
    if len(motion) != 7 or not all(map(math.isfinite, motion)):
        raise ValueError(f"{path}: image {image_id} must have seven finite numbers of motion, got {motion}")
    return ColmapImage(
        id=image_id, quat=tuple(motion[:4]), translation=tuple(motion[4:]), camera_id=camera_id, name=name
    )
