"""What this machine has of what the kit can use, each with what to do where it lacks."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

from onescene import __version__

NEEDED_GB = 4  # memory of the main job


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        state: ``ok``; ``absent`` (and not needed for the main job); ``wrong`` (something has to be done).
        text: What is there.
        advice: What to do; empty if nothing.
    """

    name: str
    state: Literal["ok", "absent", "wrong"]
    text: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Looks at everything; each finding comes as soon as it is known."""
    yield _python()
    yield from _torch()
    yield _package("numba", "CPU splatting needs it: pip install numba")
    yield _gsplat()
    yield _torchvision()
    yield _ffmpeg()
    yield _chromium()
    yield _package("papermill", "`onescene batch` needs it: pip install papermill")
    yield _package("jupyterlab", "`make lab` needs it: pip install jupyterlab")
    yield _extra("distributed", "cluster", "`onescene batch --scheduler`")
    yield _extra("lpips", "lpips", "LPIPS as the `lpips` package computes it; it brings torchvision")
    yield from _weights()
    yield _memory()
    yield _disk()


def _python() -> Finding:
    text = f"{platform.python_version()}, onescene {__version__}"
    good = sys.version_info >= (3, 11)
    return Finding("python", "ok" if good else "wrong", text, "" if good else "install Python 3.11 or newer")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:
        yield Finding("torch", "wrong", f"does not import: {_line(error)}", "run `make install` again")
        return
    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    yield Finding("torch", "ok", f"{torch.__version__} ({build}), {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        yield Finding("cuda", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB")
    else:
        yield Finding("cuda", "absent", "no GPU that torch can use; everything of the small preset runs without")


def _package(name: str, advice: str) -> Finding:
    try:
        importlib.import_module(name)
        return Finding(name, "ok", version(name))
    except Exception as error:
        return Finding(name, "wrong", f"does not import: {_line(error)}", advice)


def _gsplat() -> Finding:
    try:
        found = version("gsplat")
    except PackageNotFoundError:
        return Finding("gsplat", "absent", "not installed; splatting runs on Numba", "for a GPU: pip install gsplat")
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return Finding("gsplat", "absent", f"{found} is installed but needs CUDA; splatting runs on Numba")
    return Finding("gsplat", "ok", f"{found}; its first use compiles for this GPU")


def _torchvision() -> Finding:
    """A torchvision that cannot load breaks diffusers and transformers, so it is tried, in a process of its own."""
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", "ok", "not installed, and not needed")
    tried = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, timeout=120)
    if tried.returncode == 0:
        return Finding("torchvision", "ok", f"{version('torchvision')} loads beside this torch")
    reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    advice = "it breaks diffusers as it is: pip uninstall torchvision"
    return Finding("torchvision", "wrong", f"is installed but does not load: {reason}", advice)


def _ffmpeg() -> Finding:
    try:
        import imageio_ffmpeg

        return Finding("ffmpeg", "ok", f"{imageio_ffmpeg.get_ffmpeg_version()} (imageio-ffmpeg)")
    except Exception as error:
        advice = "films need it: pip install --force-reinstall imageio-ffmpeg, or put ffmpeg on PATH"
        return Finding("ffmpeg", "wrong", _line(error), advice)


def _chromium() -> Finding:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found:
        return Finding("chromium", "ok", Path(found).name)
    return Finding("chromium", "absent", "none on PATH; only tests of the viewer use one, and skip without")


def _extra(name: str, extra: str, purpose: str) -> Finding:
    if importlib.util.find_spec(name) is not None:
        return Finding(name, "ok", version(name))
    return Finding(name, "absent", f"not installed; for {purpose}", f"pip install 'onescene[{extra}]'")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB, {os.cpu_count()} cores"
    if memory.available < NEEDED_GB * 1e9:
        return Finding("memory", "wrong", text, f"the main job takes up to {NEEDED_GB} GB: close other programs")
    return Finding("memory", "ok", text)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < 1:
        return Finding("disk", "wrong", f"{free:.2f} GB free here", "a run takes about 0.2 GB: free some space")
    return Finding("disk", "ok", f"{free:.0f} GB free here")


def _weights() -> Iterator[Finding]:
    """The networks that come with the package: read, and compared with what they should hold."""
    from onescene.models.outpainter.weights import load_outpainter, shipped_outpainter_path
    from onescene.models.scaffolds import SHIPPED_SCAFFOLDS, open_scaffold, scaffold_file
    from onescene.models.seva.bundle import SHIPPED, load_bundle

    outpainter = shipped_outpainter_path()
    loads = {
        outpainter: lambda: (load_outpainter(outpainter)[1],),
        **{scaffold_file(name): lambda name=name: (open_scaffold(name)[1],) for name in SHIPPED_SCAFFOLDS},
        SHIPPED: lambda: load_bundle(None).files,
    }
    for shipped, load in loads.items():
        advice = f"put {shipped.name} back (git checkout, or install again)"
        try:
            files = load()
        except (FileNotFoundError, ValueError) as error:
            yield Finding("weights", "wrong", _line(error), advice)
            continue
        for file in files:
            text = f"{file.name}: sha256 {file.sha256[:16]}..., {file.licence}"
            if file.sha256 not in sha256s_on_card(file.path):
                yield Finding("weights", "wrong", f"{text}; not the file that its model card names", advice)
            else:
                yield Finding("weights", "ok", text)


def sha256s_on_card(weights: Path) -> set[str]:
    """The SHA-256s that the model card beside a weights file, or beside its folder, names; none without a card."""
    cards = [card for card in (weights.with_suffix(".md"), weights.parent.with_suffix(".md")) if card.is_file()]
    return set(re.findall(r"\b[0-9a-f]{64}\b", cards[0].read_text("utf-8"))) if cards else set()


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
