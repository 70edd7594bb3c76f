"""What is seen where a ray meets the sky: six images, a cloud image on a dome, or a plain gradient."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from onescene.data.maps.pk3 import PackFiles
from onescene.data.maps.shaders import Surface
from onescene.data.maps.textures import read_image

SKY_PX = 256
CLOUD_TILES = 1.0  # repeats of the cloud image per unit of the dome's flat coordinates
ZENITH_RGB, HORIZON_RGB = (0.35, 0.52, 0.80), (0.78, 0.84, 0.90)

# for each box side, in the map's axes (x forward, y left, z up): its normal, image right, image up
BOX = {
    "rt": ((1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "lf": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "bk": ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
    "ft": ((0, -1, 0), (-1, 0, 0), (0, 0, 1)),
    "up": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    "dn": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
}


@dataclass(frozen=True, kw_only=True)
class Sky:
    """Images of a map's sky.

    Attributes:
        sides: Images by side of the box ("rt", "lf", "bk", "ft", "up", "dn"), float RGB [s, s, 3] in [0, 1].
        clouds: One image spread over the dome, or None.
    """

    sides: dict[str, np.ndarray]
    clouds: np.ndarray | None = None

    def colour(self, directions: np.ndarray) -> np.ndarray:
        """RGB [n, 3] in [0, 1] seen along unit directions [n, 3] in the map's axes."""
        up = np.clip(directions[:, 2:3], 0.0, 1.0) ** 0.6
        out = (1 - up) * np.array(HORIZON_RGB) + up * np.array(ZENITH_RGB)
        if self.sides:
            return self._box(directions, out)
        if self.clouds is not None:
            flat = directions[:, :2] / (np.abs(directions[:, 2:3]) + 0.35)
            size = self.clouds.shape[0]
            xy = (flat * CLOUD_TILES * size).astype(np.float32)
            return _lookup(self.clouds, xy % size, cv2.BORDER_WRAP)
        return out

    def _box(self, directions: np.ndarray, out: np.ndarray) -> np.ndarray:
        normals = np.array([side[0] for side in BOX.values()], dtype=np.float64)
        owner = (directions @ normals.T).argmax(1)
        for i, (name, (normal, right, up)) in enumerate(BOX.items()):
            mine = owner == i
            if name not in self.sides or not mine.any():
                continue
            d = directions[mine] / (directions[mine] @ np.array(normal, dtype=np.float64))[:, None]
            s, t = d @ np.array(right, dtype=np.float64), d @ np.array(up, dtype=np.float64)
            size = self.sides[name].shape[0]
            xy = np.stack([(s + 1) / 2 * size, (1 - t) / 2 * size], 1).astype(np.float32)
            out[mine] = _lookup(self.sides[name], xy, cv2.BORDER_REPLICATE)
        return out


def _lookup(image: np.ndarray, xy: np.ndarray, border: int) -> np.ndarray:
    rows = 1024  # cv2.remap wants images; fold the list of points into rows
    padded = np.zeros((-(-len(xy) // rows) * rows, 2), np.float32)
    padded[: len(xy)] = xy - 0.5
    grid = padded.reshape(-1, rows, 2)
    found = [
        cv2.remap(image, part[..., 0], part[..., 1], cv2.INTER_LINEAR, borderMode=border)
        for part in np.array_split(grid, max(1, len(grid) // 16384 + 1))
    ]
    return np.concatenate(found).reshape(-1, 3)[: len(xy)].astype(np.float64)


def _decoded(packs: PackFiles, name: str | None) -> np.ndarray | None:
    image = read_image(packs, name)
    if image is None:
        return None
    rgb = image[..., :3].astype(np.float32) / 255.0
    return cv2.resize(rgb, (SKY_PX, SKY_PX), interpolation=cv2.INTER_AREA)


def load_sky(packs: PackFiles, surface: Surface | None) -> Sky:
    """Loads the images of a sky surface; what is missing falls back to the next simpler sky."""
    if surface is None:
        return Sky(sides={})
    sides = {}
    if surface.sky_box:
        found = {s: _decoded(packs, packs.find_image(f"{surface.sky_box}_{s}")) for s in BOX}
        sides = {s: image for s, image in found.items() if image is not None}
    if len(sides) >= 4:
        mean = np.mean([image.mean((0, 1)) for image in sides.values()], axis=0).astype(np.float32)
        full = {s: np.broadcast_to(mean, (2, 2, 3)).copy() for s in BOX}
        return Sky(sides=full | sides)
    return Sky(sides={}, clouds=_decoded(packs, surface.image))
