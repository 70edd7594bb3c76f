"""Photographed panoramas out of packages that anyone can download, as 2:1 pictures, and who of them is held out.

Where from (``pip``, ``npm pack`` and ``apt-get download`` bring them; unpack all below one folder):

- Debian ``blender-data``: ``datafiles/studiolights/world/*.exr``, CC0 (Greg Zaal, Poly Haven), 1024x512
- npm ``@pmndrs/assets`` 1.7.0: ``hdri/*.exr.js``, CC0 (Poly Haven), an EXR in base64 each, 512x256
- npm ``jp.keijiro.test-assets`` 1.0.1: ``HDRI/Unity Muir Wood.exr``, public domain, 1024x512
- npm ``online-3d-viewer`` 0.18.0: ``website/assets/envmaps/*/posz.jpg`` and five more, CC-BY 3.0 (Emil Persson, Humus)

High dynamic range is brought into [0, 1] by the global operator of Reinhard et al. 2002 (Eq. 1, 2 and 4: key 0.18,
white at a scaled luminance of 4) on each channel, and a gamma of 2.2.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from PIL import Image
from torch import Tensor

from onescene.data.splits import Split, check_split
from onescene.geometry.cubemap import panorama_from_faces

KEY, WHITE = 0.18, 4.0  # Reinhard's: what the log-average luminance becomes, the smallest luminance that becomes white
_LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # Rec. 709, linear
# name of a face's file in the order F R B L U D, and by how many quarter turns it is turned
_FACES = (("posz", 0), ("posx", 0), ("negz", 0), ("negx", 0), ("posy", 1), ("negy", 3))


@dataclass(frozen=True)
class Photo:
    """A photographed panorama.

    Attributes:
        name: Of the picture that is written; it says who is held out (``splits.HELD_OUT_PANORAMAS``).
        file: How the path of its file ends; of six faces, of the first.
        split: Which side it lies on.
    """

    name: str
    file: str
    split: Split


def _all() -> Iterator[Photo]:
    for name in ("night", "studio", "sunrise"):
        yield Photo(name, f"studiolights/world/{name}.exr", "train")
    for name in ("apartment", "hall", "lab", "lobby", "park", "warehouse", "workshop"):
        yield Photo(name, f"hdri/{name}.exr.js", "train")
    for name in ("bridge", "dawn", "esplanade"):
        yield Photo(name, f"hdri/{name}.exr.js", "validation")
    for name in ("city", "courtyard"):
        yield Photo(name, f"studiolights/world/{name}.exr", "heldout")
    yield Photo("muir_wood", "HDRI/Unity Muir Wood.exr", "heldout")
    for name in ("citadella", "fishermans_bastion", "maskonaive", "park", "teide"):
        yield Photo(f"humus_{name}", f"envmaps/{name}/posz.jpg", "heldout")


PHOTOS = tuple(_all())


def write_photos(
    packages: str | Path, out: str | Path, split: Split, height: int = 512, on_photo: Callable[[Path], None] = print
) -> list[Path]:
    """Writes the photographs of a split as PNG, at most ``height`` rows each; those that are there already are kept.

    Args:
        packages: Folder below which the unpacked packages lie.
        out: Folder of the pictures.
        split: train, validation or heldout.
        height: Rows at most; no photograph is enlarged.
        on_photo: Called with each file that was written.

    Raises:
        FileNotFoundError: a photograph's file is not there; the sentence names it.
        ValueError: the split is unknown, OpenEXR is not installed, or a file is damaged.
    """
    check_split(split)
    wanted = [photo for photo in PHOTOS if photo.split == split]
    found = [(photo, _find(Path(packages), photo.file)) for photo in wanted]
    Path(out).mkdir(parents=True, exist_ok=True)
    written = []
    for photo, source in found:
        path = Path(out) / f"{photo.name}.png"
        written.append(path)
        if path.is_file():
            continue
        rgb = read_photo(source)
        rows = min(height, rgb.shape[-2])
        _write_png(F.interpolate(rgb[None], (rows, 2 * rows), mode="area")[0], path)
        on_photo(path)
    return written


def read_photo(path: Path) -> Float[Tensor, "3 height width"]:
    """A photographed panorama, RGB in [0, 1]: an EXR, one in base64 in a JavaScript file, or six faces.

    Args:
        path: The EXR, the JavaScript file, or the face that looks ahead (``posz.jpg``), beside which the others lie.

    Raises:
        ValueError: OpenEXR is not installed, or the file is damaged.
        FileNotFoundError: a face is missing.
    """
    if path.suffix == ".js":
        content = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text(encoding="ascii", errors="replace"))
        if content is None:
            raise ValueError(f"photograph must be an EXR in base64, found none in {path}")
        with tempfile.TemporaryDirectory() as folder:
            exr = Path(folder) / path.stem
            exr.write_bytes(base64.b64decode(content[1]))
            return _as_tensor(tone_map(_read_exr(exr, path)))
    if path.suffix == ".exr":
        return _as_tensor(tone_map(_read_exr(path, path)))
    faces = [_read_picture(path.with_name(name + path.suffix)).rot90(turns, (1, 2)) for name, turns in _FACES]
    side = faces[0].shape[-1]
    return panorama_from_faces(torch.stack(faces), (2 * side, 4 * side), 90.0).clamp(0, 1)


def tone_map(linear: Float[ndarray, "height width 3"]) -> Float[ndarray, "height width 3"]:
    """Linear radiance to RGB in [0, 1] (Reinhard et al. 2002); what is not finite becomes black."""
    linear = np.clip(np.nan_to_num(linear, posinf=0.0), 0, 1e4)
    scaled = linear * (KEY / np.exp(np.log(linear @ _LUMA + 1e-4).mean()))
    return np.clip(scaled * (1 + scaled / WHITE**2) / (1 + scaled), 0, 1) ** (1 / 2.2)


def _find(folder: Path, ending: str) -> Path:
    """The first file below a folder whose path ends so."""
    name = ending.rsplit("/", 1)[-1]
    found = sorted(p for p in folder.rglob(name) if p.as_posix().endswith(f"/{ending}"))
    if not found:
        raise FileNotFoundError(f"packages must hold {ending}, found none below {folder}")
    return found[0]


def _read_exr(path: Path, named: Path) -> Float[ndarray, "height width 3"]:
    try:
        import OpenEXR
    except ImportError as error:
        raise ValueError("photographs in EXR need OpenEXR: pip install 'onescene[hdr]'") from error
    try:
        channels = OpenEXR.File(str(path)).channels()
        together = next((c.pixels for name, c in channels.items() if name in ("RGB", "RGBA")), None)
        pixels = together if together is not None else np.stack([channels[c].pixels for c in "RGB"], axis=-1)
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{named} must be an EXR with R, G and B, but it is damaged") from error
    return np.ascontiguousarray(pixels[..., :3], dtype=np.float32)


def _read_picture(path: Path) -> Tensor:
    try:
        with Image.open(path) as picture:
            return _as_tensor(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255)
    except FileNotFoundError:
        raise FileNotFoundError(f"photograph must have six faces, found no {path}") from None
    except OSError as error:
        raise ValueError(f"{path} must be a picture, but it is damaged") from error


def _write_png(rgb: Tensor, path: Path) -> None:
    """Writes a picture whole or not at all."""
    part = path.with_suffix(".part")
    try:
        Image.fromarray(rgb.mul(255).round().byte().permute(1, 2, 0).numpy()).save(part, format="PNG")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _as_tensor(rgb: ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rgb, dtype=np.float32)).permute(2, 0, 1)
