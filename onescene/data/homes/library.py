"""Furniture catalogues of Sweet Home 3D: ``.sh3f`` files, zip archives with a list of pieces and their models.

Names stand in ``PluginFurnitureCatalog.properties`` as ``key#number=value``, lengths in centimetres.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onescene.data.splits import HELD_OUT_LIBRARIES, Split, check_split

CATALOGUE = "PluginFurnitureCatalog.properties"
LEFT_OUT = frozenset({"Characters", "Vehicles", "Doors and windows", "Staircases", "Exterior"})
SMALL_M = 0.48  # what is smaller stands on other things
VALIDATION_SHARE = 8  # one piece in so many is kept for validation
_ENTRY = re.compile(r"^(\w+)#(\d+)=(.*)$")
_UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of furniture in a catalogue.

    Attributes:
        key: ``<library>/<number>``.
        name: What it is ("Couch").
        category: The room it belongs to ("Living room").
        size_m: Width, height and depth.
        elevation_m: Height of its lower end above the floor.
        top_m: Height above its lower end at which things stand on it.
        library: The ``.sh3f`` file.
        model: Path of its OBJ file in there.
        rotation: Turns the model upright [3, 3].
    """

    key: str
    name: str
    category: str
    size_m: tuple[float, float, float]
    elevation_m: float
    top_m: float
    library: Path
    model: str
    rotation: np.ndarray


def read_catalogue(library: str | Path) -> list[Piece]:
    """The pieces of one ``.sh3f`` file that stand in rooms: no people, vehicles, doors, windows or stairs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no furniture library.
    """
    library = Path(library)
    if not library.is_file():
        raise FileNotFoundError(f"no such file: {library}")
    try:
        with zipfile.ZipFile(library) as archive:
            text = archive.read(CATALOGUE).decode("latin-1")
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{library} must be a furniture library (zip with {CATALOGUE})") from error
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        found = _ENTRY.match(line.strip())
        if found:
            entries.setdefault(int(found[2]), {})[found[1]] = found[3].strip()
    pieces = [_piece(library, number, entry) for number, entry in sorted(entries.items()) if "model" in entry]
    return [piece for piece in pieces if piece.category not in LEFT_OUT]


def _piece(library: Path, number: int, entry: dict[str, str]) -> Piece:
    def metres(key: str, otherwise: float = 0.0) -> float:
        return float(entry[key]) / 100 if key in entry else otherwise

    height = metres("height")
    rotation = [float(v) for v in entry.get("modelRotation", "").split()] or _UPRIGHT
    return Piece(
        key=f"{library.stem}/{number}",
        name=entry.get("name", ""),
        category=entry.get("category", ""),
        size_m=(metres("width"), height, metres("depth")),
        elevation_m=metres("elevation"),
        top_m=metres("dropOnTopElevation", height),
        library=library,
        model=entry["model"].lstrip("/"),
        rotation=np.array(rotation).reshape(3, 3),
    )


def split_of_piece(piece: Piece) -> Split:
    """The split a piece belongs to: held out by library, an eighth of the others for validation, else training."""
    if piece.library.stem.lower().startswith(HELD_OUT_LIBRARIES):
        return "heldout"
    return "validation" if zlib.crc32(piece.key.encode()) % VALIDATION_SHARE == 0 else "train"


def open_libraries(folder: str | Path, split: Split) -> list[Piece]:
    """The pieces of one split of all ``.sh3f`` files below a folder.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no piece of the split, or a damaged library.
    """
    check_split(split)
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    pieces = [p for library in sorted(root.rglob("*.sh3f")) for p in read_catalogue(library)]
    found = [p for p in pieces if split_of_piece(p) == split]
    if not found:
        raise ValueError(f"{root} must hold furniture libraries (*.sh3f) of the split {split}, found none")
    return found
