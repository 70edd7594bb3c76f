"""The main job and its parts: which steps there are, in which order, and what runs again.

photo or panorama -> 01_panorama -> 02_anchors ----------------------> 05_scene -> scene.html
                                \\-> 03_scaffold -> 04_views -------/           \\-> flythrough.mp4
all of them -> overview.png, run.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from onescene.io.cameras import camera_files, load_cameras
from onescene.pipeline import layout
from onescene.pipeline.digests import digest_of_file
from onescene.pipeline.progress import Clock, RunProgress
from onescene.pipeline.record import write_run_json
from onescene.pipeline.settings import RunSettings
from onescene.pipeline.step import Step, is_up_to_date, read_record, run_step
from onescene.pipeline.workspace import open_workspace

STEPS = (
    *layout.FOLDERS,
    *("scene.html", "flythrough.mp4", "overview.png"),
)
# Seconds on two cores at the preset small, for the first guess of the time left.
EXPECTED = dict(zip(STEPS, (7.0, 0.5, 4.0, 15.0, 7.0, 1.0, 1.0, 1.5), strict=True))


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked for.

    Attributes:
        out: Folder of the run.
        settings: Of the run.
        steps: Names of the steps wanted, in order.
        photo: The photo, or None.
        panorama: A panorama that the user brings, or None.
        cameras: Camera file for step 04, or None for the trajectories of the settings.
        command: As it was called, for run.json.
        fresh: Run every step again.
    """

    out: Path
    settings: RunSettings
    steps: tuple[str, ...] = STEPS
    photo: Path | None = None
    panorama: Path | None = None
    cameras: Path | None = None
    command: str = ""
    fresh: bool = False


def run_job(job: Job, report: Callable[[RunProgress], None] | None = None) -> dict[str, str]:
    """Runs the steps of a job that are not up to date.

    Returns:
        ``ran`` or ``skipped`` for every step.

    Raises:
        ValueError, FileNotFoundError, ...: what the caller gave is not usable; nothing was written then.
        FolderBusyError: another run holds the folder.
        OSError: the disk is full.
    """
    for path in (job.photo, job.panorama):
        _must_be_a_file(path)
        _must_not_be_written_over(path, job)
    if job.cameras is not None:
        camera_files(job.cameras)  # they are there
    before = [(name, _expected(job.out, name)) for name in job.steps]
    states: dict[str, str] = {}
    with open_workspace(job.out) as out:
        clock = Clock(before, report)
        for name in job.steps:
            step = make_step(name, job)
            if not job.fresh and is_up_to_date(step, out):
                clock.skipped(name)
                states[name] = "skipped"
                continue
            run_step(step, out, partial(clock.started, name, step.announcement))
            clock.finished(name)
            states[name] = "ran"
        _write_record(job, {n for n, s in states.items() if s == "ran"})
    return states


def _must_be_a_file(path: Path | None) -> None:
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a file")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")


def _must_not_be_written_over(path: Path | None, job: Job) -> None:
    """Refuses an input that lies where a step writes; but for a panorama that this folder's run has made itself."""
    if path is None:
        return
    taken_as_it_is = path == job.panorama or job.settings.panorama_method == "file"
    if taken_as_it_is and read_record(job.out, layout.PANORAMA) is not None:
        if path.resolve() == layout.panorama_file(job.out).resolve():
            return
    for name in job.steps:
        place = (job.out / name).resolve()
        if place in (path.resolve(), path.resolve().parent):
            raise ValueError(f"{path} would be written over by this run: copy it elsewhere, or give another --out")


def make_step(name: str, job: Job) -> Step:
    """The step of a name; its inputs have to be there."""
    from onescene.pipeline.steps import anchors, finish, panorama, scaffold, scene, views

    out, settings = job.out, job.settings
    if name == layout.PANORAMA:
        if job.panorama is not None or settings.panorama_method == "file":
            return panorama.given_panorama_step(job.panorama or job.photo)
        return panorama.panorama_step(job.photo, settings)
    source = job.panorama if layout.PANORAMA not in job.steps and job.panorama else layout.panorama_file(out)
    makers: dict[str, Callable[[], Step]] = {
        layout.ANCHORS: lambda: anchors.anchors_step(source, settings),
        layout.SCAFFOLD: lambda: scaffold.scaffold_step(source, settings),
        layout.VIEWS: lambda: views.views_step(_scaffold_of(out), layout.distance_file(out), settings, job.cameras),
        layout.SCENE: lambda: scene.scene_step(out, _count_current_views(out), settings),
        "scene.html": lambda: finish.page_step(out),
        "flythrough.mp4": lambda: finish.film_step(out, settings),
        "overview.png": lambda: finish.overview_step(out, job.photo, count_views(out)),
    }
    return makers[name]()


def count_views(out: Path) -> int:
    """Number of views of step 04, from its cameras.

    Raises:
        FileNotFoundError: step 04 has not run.
    """
    path = layout.cameras_file(out)
    if not path.is_file():
        raise FileNotFoundError(f"no novel views in {out}: run `onescene views {out}` first")
    return len(load_cameras(path))


def _scaffold_of(out: Path) -> Path:
    path = layout.scaffold_file(out)
    if not path.is_file() or not layout.distance_file(out).is_file():
        raise FileNotFoundError(f"no scaffold in {out}: run `onescene scaffold PANORAMA --out {out}` first")
    return path


def _count_current_views(out: Path) -> int:
    """As :func:`count_views`, and sees to it that the views show the scaffold that is there now."""
    count, record = count_views(out), read_record(out, layout.VIEWS)
    made_from = record.made_from.get("inputs", {}).get("gaussians") if record else None
    if made_from not in (None, digest_of_file(_scaffold_of(out))):
        raise ValueError(f"the novel views in {out} show another scaffold: run `onescene views {out}` again")
    return count


def _expected(out: Path, name: str) -> float:
    """What a step took last time in this folder, else the usual."""
    record = read_record(out, name)
    return record.seconds if record is not None and record.seconds else EXPECTED[name]


def _write_record(job: Job, ran: set[str]) -> None:
    records = [r for r in (read_record(job.out, name) for name in STEPS) if r is not None and r.key]
    inputs = dict(_inputs(job))
    old = job.out / "run.json"
    if not inputs and old.is_file():  # `views`, `refine`: what the run began with stays on record
        try:
            inputs = json.loads(old.read_text("utf-8")).get("inputs", {})
        except ValueError:
            inputs = {}
    write_run_json(job.out, command=job.command, settings=job.settings, records=records, fresh=ran, inputs=inputs)


def _inputs(job: Job) -> Iterator[tuple[str, dict[str, str]]]:
    for name, path in (("photo", job.photo), ("panorama", job.panorama)):
        if path is not None:
            yield name, {"file": path.name, "sha256": digest_of_file(path)}
