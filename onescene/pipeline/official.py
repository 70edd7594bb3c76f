"""The preset ``paper``: the official networks, from one folder that its user fills (nothing is fetched here).

    DIR/FLUX.1-Fill-dev/, DIR/HunyuanWorld-PanoDiT-Image/   panorama, as `onescene panorama --method hunyuan` wants them
    DIR/one2scene_scaffold.ckpt | scaffold.safetensors | model.pt   scaffold: the release's, a trained one, VGGT-1B
    DIR/views/                                                     novel views, as `onescene views --weights` wants them

Any of them may lie elsewhere: ``panorama_options``, ``scaffold_weights`` and ``view_weights`` of a params file say so.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from onescene.models.registry import MODELS

SCAFFOLD_FILES = ("one2scene_scaffold.ckpt", "scaffold.safetensors", "model.pt")
VIEWS_FOLDER = "views"
PARTS = (
    ("FLUX.1-Fill-dev/ and HunyuanWorld-PanoDiT-Image/ for the panorama", ()),
    (f"{' or '.join(SCAFFOLD_FILES)} for the scaffold", ("one2scene-scaffold", "VGGT-1B")),
    (f"{VIEWS_FOLDER}/ for novel views", ("one2scene-denoiser", "SEVA", "SD-2.1-VAE", "CLIP-ViT-H-14")),
)
SIZES: dict[str, Any] = {
    **{"panorama_method": "hunyuan", "panorama_height": 960, "face_px": 518, "turns": 1},
    **{"scaffold_gaussians": None},
    **{"trajectory": ("demo",), "frames": 160, "view_hw": (576, 576), "method": "dual-lora"},
    **{"refine_views": 160, "refine_recipe": "true-views", "refine_steps": 3000},
}
"""The paper's sizes: its panorama, VGGT's faces without turned copies, the demo's chain of cameras at SEVA's size."""


def official_settings(folder: str | Path | None, named: Collection[str]) -> dict[str, Any]:
    """Settings of a run with the official networks.

    Args:
        folder: See the module; None: the caller has to say where everything is.
        named: Settings that the caller gives; what they name is not looked for.

    Raises:
        ValueError: no folder is given and something is not named.
        FileNotFoundError: there is no such folder, or no scaffold's file in it.
    """
    settings = dict(SIZES)
    if folder is None:
        if "scaffold_weights" not in named or "view_weights" not in named:
            raise ValueError(
                f"--preset paper needs weights in a folder that --weights names: {_wanted()}; or use --preset small"
            )
        return settings
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}; --preset paper needs weights there: {_wanted()}")
    settings["panorama_options"] = {"weights": str(folder)}
    settings["view_weights"] = str(folder / VIEWS_FOLDER)
    if "scaffold_weights" not in named:
        found = [folder / name for name in SCAFFOLD_FILES if (folder / name).is_file()]
        if not found:
            raise FileNotFoundError(f"{folder} holds no {PARTS[1][0]} ({_models(PARTS[1][1])})")
        settings["scaffold_weights"] = str(found[0])
    return settings


def _wanted() -> str:
    return ", ".join(f"{what} ({_models(names)})" if names else what for what, names in PARTS)


def _models(names: tuple[str, ...]) -> str:
    """Sizes and licences of models, in a few words."""
    return "; ".join(f"{m.name}: {m.needs}, licence: {m.licence}" for m in MODELS if m.name in names)
