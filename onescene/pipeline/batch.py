"""Batch runs: a notebook and a params file become a folder of results; many of them on several workers.

    params/small/01_panorama.yaml + notebooks/01_panorama.ipynb
        -> results/01_panorama/small/{params.yaml, metrics.json, notebook.ipynb} and results/01_panorama/table.csv

A run is a step like any other: it is skipped when notebook, parameters and code are those of its last run.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from onescene.io.atomic import atomic_write_text
from onescene.models.registry import shipped_files
from onescene.pipeline.notebooks import project_root
from onescene.pipeline.parameters import OUT_KEY, check_params, read_notebook, read_params
from onescene.pipeline.step import Step, StepContext, is_up_to_date, run_step
from onescene.pipeline.workspace import STATE, open_workspace

FAILED = "failed.ipynb"


@dataclass(frozen=True)
class BatchJob:
    """One run: everything a worker on any machine that sees the same folders needs to know.

    Attributes:
        notebook: The notebook's file.
        name: Name of the run among those of the notebook.
        params: All parameters, the notebook's own values included.
        folder: Where its results go.
        root: Folder it runs in; paths inside it are recorded relative to it.
    """

    notebook: Path
    name: str
    params: dict[str, Any]
    folder: Path
    root: Path

    @property
    def label(self) -> str:
        """``01_panorama/small``."""
        return f"{self.notebook.stem}/{self.name}"


@dataclass(frozen=True)
class BatchResult:
    """What became of a run.

    Attributes:
        label: The job's.
        state: ``done``, ``skipped`` (it was up to date) or ``failed``.
        seconds: How long it took [s].
        error: A sentence if it failed.
    """

    label: str
    state: str
    seconds: float
    error: str = ""


def plan_jobs(files: Sequence[str | Path], notebook: str | None, out: str | Path | None) -> list[BatchJob]:
    """Pairs params files with notebooks and checks every key before anything runs.

    Args:
        files: Params files, or folders of them.
        notebook: Number, name or path of the notebook; None = the one that each params file is named after.
        out: Folder of results; None = ``results/`` of the project.

    Raises:
        FileNotFoundError: a params file or a notebook is missing.
        ValueError: a key is unknown, or two params files would share a folder of results.
    """
    root = _root()
    results = Path(out).resolve() if out is not None else root / "results"
    jobs: dict[Path, BatchJob] = {}
    for file in _expand(files, root):
        found = read_notebook(_find_notebook(notebook or file.stem, root, file))
        params = check_params(read_params(file), found.defaults, file.name)
        name = file.resolve().parent.name if file.stem == found.path.stem else file.stem
        folder = results / found.path.stem / name
        if folder in jobs:
            raise ValueError(f"two params files would write {found.path.stem}/{name}: rename one, {file} is the second")
        jobs[folder] = BatchJob(found.path, name, params, folder, root)
    if not jobs:
        raise ValueError("no params files were given")
    return list(jobs.values())


def _root() -> Path:
    """The project's root; outside of it, where notebooks are named by path, the working directory."""
    try:
        return project_root()
    except FileNotFoundError:
        return Path.cwd()


def _expand(files: Sequence[str | Path], root: Path) -> list[Path]:
    """Files as they are; of a folder, the params files that are named after a notebook."""
    found: list[Path] = []
    for file in map(Path, files):
        if file.is_dir():
            inside = [p for p in sorted(file.glob("*.yaml")) if (root / "notebooks" / f"{p.stem}.ipynb").is_file()]
            if not inside:
                raise FileNotFoundError(f"no params file in {file} is named after a notebook")
            found += inside
        else:
            found.append(file)
    return found


def _find_notebook(wanted: str, root: Path, file: Path) -> Path:
    """A notebook by its path, its name or its number."""
    if not file.is_file():
        raise FileNotFoundError(f"params file not found: {file}")
    if wanted.endswith(".ipynb"):
        return Path(wanted).resolve()
    known = sorted((root / "notebooks").glob("*.ipynb"))
    matches = [p for p in known if p.stem == wanted] or [p for p in known if p.stem.split("_")[0] == wanted]
    if len(matches) != 1:
        names = ", ".join(p.stem for p in known) or "none"
        raise FileNotFoundError(f"no notebook is called {wanted!r} (for {file.name}); there are: {names}")
    return matches[0]


def run_job(job: BatchJob, fresh: bool = False) -> BatchResult:
    """Runs one job unless it is up to date; a failure is a result, not an exception."""
    started = time.perf_counter()
    # The folder stays out of the key: results that were moved with their params stay valid.
    parameters = {k: v for k, v in job.params.items() if k != OUT_KEY}
    step = Step(
        name="run",
        folder=".",
        make=lambda context: _execute(job, context),
        inputs={"notebook": job.notebook, **_files_among(parameters, job.root)},
        parameters=parameters,
        weights=shipped_files(),
        code=read_notebook(job.notebook).modules,
    )
    try:
        with open_workspace(job.folder) as out:
            if not fresh and is_up_to_date(step, out):
                return BatchResult(job.label, "skipped", time.perf_counter() - started)
            run_step(step, out)
            (out / FAILED).unlink(missing_ok=True)
        return BatchResult(job.label, "done", time.perf_counter() - started)
    except Exception as error:
        logging.getLogger(__name__).debug("%s failed", job.label, exc_info=True)
        return BatchResult(job.label, "failed", time.perf_counter() - started, " ".join(_sentence(error).split()))


def _files_among(parameters: dict[str, Any], root: Path) -> dict[str, Path]:
    """Parameters that name a file, from the project's root: what is in it counts, not its name alone."""
    named = {k: root / v for k, v in parameters.items() if isinstance(v, str) and v}
    return {k: path for k, path in named.items() if path.is_file()}


def _sentence(error: Exception) -> str:
    """What went wrong; of a cell that raised, where and what it raised."""
    if hasattr(error, "ename"):  # papermill's PapermillExecutionError
        return f"In [{error.exec_count}]: {error.ename}: {error.evalue}"
    return f"{type(error).__name__}: {error}"


def _execute(job: BatchJob, context: StepContext) -> dict[str, Any]:
    """Runs the notebook into the step's folder."""
    import papermill  # takes a second to import

    logging.getLogger("papermill").setLevel(logging.ERROR)
    notebook, metrics = context.folder / "notebook.ipynb", context.folder / "metrics.json"
    params = dict(job.params)
    if OUT_KEY in params:
        params[OUT_KEY] = _relative(context.folder, job.root)
    try:
        papermill.execute_notebook(
            str(job.notebook),
            str(notebook),
            parameters=params,
            kernel_name="python3",
            language="python",
            # ipykernel warns of its TCP ports at every start and of the interrupt that ends it
            extra_arguments=["--IPKernelApp.log_level=50"],
            cwd=str(job.root),
            progress_bar=False,
            request_save_on_cell_execute=False,
        )
    except papermill.PapermillExecutionError:
        _settle_paths(job, context.folder, notebook)
        os.replace(notebook, job.folder / FAILED)  # for whoever looks into it; gone after the next success
        raise
    if not metrics.is_file():
        raise ValueError(
            f"{job.notebook.name} wrote no metrics.json into the folder that its parameter `{OUT_KEY}` names"
        )
    json.loads(metrics.read_text("utf-8"))
    _settle_paths(job, context.folder, notebook)
    if OUT_KEY in params:
        params[OUT_KEY] = _relative(job.folder, job.root)
    atomic_write_text(context.folder / "params.yaml", yaml.safe_dump(params, sort_keys=False, allow_unicode=True))
    return {"notebook": job.notebook.name}


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _settle_paths(job: BatchJob, folder: Path, notebook: Path) -> None:
    """Rewrites what an executed notebook says of its paths: results at their final place, none of this machine's."""
    text = notebook.read_text("utf-8")
    for place in (folder.as_posix(), _relative(folder, job.root)):
        text = text.replace(place, _relative(job.folder, job.root))
    content = json.loads(text)
    record = content["metadata"].get("papermill", {})
    record["input_path"] = _relative(job.notebook, job.root)
    record["output_path"] = _relative(job.folder / "notebook.ipynb", job.root)
    atomic_write_text(notebook, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def clean_up(jobs: Sequence[BatchJob]) -> None:
    """Removes what interrupted runs were building."""
    import shutil

    for job in jobs:
        for left in (job.folder / STATE).glob("partial-*"):
            shutil.rmtree(left, ignore_errors=True)
