"""What every notebook begins and ends with: the project's root, a folder for results, checks and numbers kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from onescene.io.atomic import atomic_write_json
from onescene.pipeline.settings import RunSettings, preset
from onescene.viewer import is_interactive


def project_root(start: str | Path | None = None) -> Path:
    """The folder that holds ``notebooks/`` and ``onescene/``, looked for upwards from ``start``.

    JupyterLab runs a notebook in its own folder and papermill in the caller's; paths here start from the root in both.

    Raises:
        FileNotFoundError: no such folder above ``start``.
    """
    here = Path(start or os.getcwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(f"the project's root (pyproject.toml beside notebooks/) was not found above {here}")


@dataclass
class NotebookRun:
    """One run of a notebook.

    Attributes:
        root: The project's root.
        results: Where its numbers go.
        settings: Of a run with the networks that it was opened with: their files.
        checks: What was checked, and whether it held.
    """

    root: Path
    results: Path
    settings: RunSettings = field(default_factory=RunSettings)
    checks: dict[str, bool] = field(default_factory=dict)

    def path(self, name: str | Path) -> Path:
        """A path given from the project's root (absolute ones stay)."""
        return self.root / name

    def check(self, what: str, holds: bool) -> None:
        """Notes whether something held; ``finish`` raises if anything did not."""
        self.checks[what] = bool(holds)

    def finish(self, metrics: Mapping[str, float]) -> pd.DataFrame:
        """Writes ``metrics.json`` and returns checks and metrics as a table.

        Raises:
            AssertionError: a check did not hold; the numbers are written all the same.
        """
        numbers = {k: float(v) for k, v in metrics.items()}
        self.results.mkdir(parents=True, exist_ok=True)
        atomic_write_json(self.results / "metrics.json", {"metrics": numbers, "checks": self.checks})
        failed = [name for name, holds in self.checks.items() if not holds]
        if failed:
            raise AssertionError(f"checks that did not hold: {'; '.join(failed)}")
        rows = [(k, f"{v:.4g}") for k, v in numbers.items()] + [(k, "holds") for k in self.checks]
        return pd.DataFrame(rows, columns=["measured", "value"]).set_index("measured")


def open_notebook(
    results: str | Path, seed: int = 0, networks: str | None = None, weights: str | Path = ""
) -> NotebookRun:
    """Fixes the seeds, finds the project's root, and lets cells show figures as JPEG (photographs stay small).

    Args:
        results: Folder for ``metrics.json``, from the project's root.
        seed: Seed of torch and numpy.
        networks: Preset whose networks the notebook needs, or None.
        weights: Folder of the official networks for the preset ``paper``, or a file of any scaffold network, from the
            project's root; empty: the preset's own.

    Raises:
        FileNotFoundError, ValueError: the preset is unknown, or its networks are not at hand; the sentence says what
            it needs.
    """
    root = project_root()
    path = root / weights if weights else None
    if path is not None and path.is_file():
        settings = RunSettings(scaffold_weights=str(path))
    else:
        settings = RunSettings() if networks is None else preset(networks, path)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from the global state
    _show_figures()
    return NotebookRun(root, root / results, settings)


def _show_figures() -> None:
    """Registers matplotlib's figures with IPython; without pyplot nobody else does."""
    from IPython import get_ipython
    from IPython.core.pylabtools import select_figure_formats

    shell = get_ipython()
    if shell is not None:
        select_figure_formats(shell, {"jpeg"}, pil_kwargs={"quality": 78})


def explore(draw: Callable[..., object], **controls: tuple[float, float, float]) -> object:
    """A picture with sliders where someone is watching, the picture at the first values otherwise.

    Widgets vanish from papermill's output and from static pages; pictures stay.

    Args:
        draw: Takes the controls by name and returns something a notebook shows (a figure, a table).
        controls: Name to (start, lowest, highest); whole numbers make whole steps.

    Returns:
        What a cell should end with: an ipywidgets box, or what ``draw`` returned.
    """
    start = {name: values[0] for name, values in controls.items()}
    if not is_interactive():
        return draw(**start)
    import ipywidgets
    from IPython.display import display

    sliders = {}
    for name, (value, low, high) in controls.items():
        whole = all(isinstance(v, int) for v in (value, low, high))
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        sliders[name] = kind(value=value, min=low, max=high, continuous_update=False, description=name)
    picture = ipywidgets.interactive_output(lambda **values: display(draw(**values)), sliders)
    return ipywidgets.VBox([*sliders.values(), picture])
