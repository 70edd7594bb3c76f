"""The README's small pictures of the notebooks: each is a figure that its notebook shows, made small."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
THUMBNAILS = ROOT / "results" / "thumbnails"
WIDTH_PX = 480
FIGURES = {  # notebook: which of its figures
    "00_conventions": 0,
    "01_panorama": 1,
    "02_cubemap_anchors": 0,
    "03_scaffold": 3,
    "04_scaffold_training": 3,
    "05_novel_views": 2,
    "06_dual_lora": 1,
    "07_evaluation": 2,
    "08_explore_and_refine": 4,
}


def thumbnail(name: str) -> Image.Image:
    """The figure of a notebook, made small."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    outputs = [o["data"] for cell in cells for o in cell.get("outputs", []) if "data" in o]
    figures = [data[kind] for data in outputs for kind in ("image/jpeg", "image/png") if kind in data]
    picture = Image.open(io.BytesIO(base64.b64decode(figures[FIGURES[name]]))).convert("RGB")
    scale = min(1.0, WIDTH_PX / picture.width)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


@pytest.mark.parametrize("name", FIGURES)
def test_a_thumbnail_shows_its_notebooks_figure(name: str) -> None:
    """To renew them, run this file."""
    shown, wanted = Image.open(THUMBNAILS / f"{name}.jpg"), thumbnail(name)
    assert shown.size == wanted.size, "python tests/test_thumbnails.py makes them again"
    away = np.abs(np.asarray(shown, float) - np.asarray(wanted, float)).mean()
    assert away < 4, "python tests/test_thumbnails.py makes them again"


def test_every_notebook_has_one() -> None:
    assert sorted(FIGURES) == sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))


if __name__ == "__main__":
    for notebook in FIGURES:
        thumbnail(notebook).save(THUMBNAILS / f"{notebook}.jpg", quality=85)
