"""How much of a one-step network's change pays: its views at shares of it, against the true ones.

    python benchmarks/view_shares.py BUNDLE ... --data data/pairs-heldout [--shares 0.1 0.2] [--out FILE.csv]

Share 0 is the render with its holes filled, where such a network begins; 1 is all that it changes. ``strength`` in a
bundle's views.json is such a share. Memory as views are made (``nearest``). A row per bundle and share, means over the
scenes that ``onescene data pairs`` packed; ST-LPIPS where its weights are installed.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its idle threads would spin on the cores we use

import numpy as np
import torch

from onescene.data.panoramas import pictures
from onescene.data.view_scenes import SceneSet
from onescene.io.atomic import atomic_write_text
from onescene.metrics import image_metrics
from onescene.models.seva.bundle import load_bundle
from onescene.training.perceptual import perceptual_distance, stlpips_path
from onescene.training.view_batches import ChunkDraw
from onescene.training.view_check import BARE, CheckConfig, remake

SHARES = (0.1, 0.2, 0.3, 0.45, 0.65, 0.8, 1.0)
HEAD = "bundle,share,psnr_db,ssim_gauss11,st_lpips,scenes"


@torch.no_grad()
def rows_of(bundle: Path, data: SceneSet, shares: list[float]) -> list[str]:
    """Lines of the table.

    Raises:
        ValueError: the networks do not begin at the renders.
    """
    models = load_bundle(bundle, torch.device("cpu"), torch.float32)
    if not models.manifest.start_sigma or models.manifest.method is None:
        raise ValueError(f"{bundle} must begin at the renders (start_sigma in its views.json)")
    whole = replace(models, manifest=replace(models.manifest, strength=1.0))
    config = CheckConfig(ChunkDraw(whole.manifest.method, whole.manifest.targets, whole.manifest.clean))
    distance = perceptual_distance("st-lpips") if stlpips_path() else None
    found = {share: [] for share in shares}
    for index in range(len(data)):
        scene = data[index]
        true, filled = pictures(scene.true_rgb), pictures(BARE["holes filled"](scene))
        change = remake(whole, scene, config) - filled
        for share, scores in found.items():
            made = filled + share * change
            errors = image_metrics(made, true)
            far = float(distance(made, true).mean()) if distance else float("nan")
            scores.append((errors["psnr_db"], errors["ssim_gauss11"], far))
        print(f"{bundle}: {index + 1}/{len(data)}", end="\r", flush=True)
    means = {share: np.mean(scores, axis=0) for share, scores in found.items()}
    return [f"{bundle},{share:g},{m[0]:.4f},{m[1]:.5f},{m[2]:.5f},{len(data)}" for share, m in means.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES), metavar="SHARE")
    parser.add_argument("--out", type=Path, metavar="FILE.csv")
    args = parser.parse_args()
    lines, data = [HEAD], SceneSet(*args.data)
    for bundle in args.bundles:
        lines += rows_of(bundle, data, [0.0, *args.shares])
        if args.out is not None:
            atomic_write_text(args.out, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
