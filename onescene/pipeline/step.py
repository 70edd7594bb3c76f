"""A step: files in, files out, and the decision whether what lies there is still what would be made.

A step's key hashes its parameters, its inputs' content, its weights and its code. A step is up to date when the record
of its last run bears the same key and every file it wrote is there, unchanged. A step writes into a folder apart;
only when it is through are its files renamed into place and the record written, in this order, so that a run stopped
at any point leaves either the old result or the new one, and never a mixture that passes for either. A file in its way
that no run wrote as it is now (someone painted on a panorama, say) goes to ``.onescene/replaced/`` first.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

from onescene.io.atomic import atomic_write_json
from onescene.pipeline.digests import digest_of_code, digest_of_file, digest_of_value
from onescene.pipeline.memory import peak_memory
from onescene.pipeline.workspace import STATE

logger = logging.getLogger(__name__)

REPLACED = "replaced"  # what was in a step's way, below the run's hidden folder
Progress = Callable[[float], None]


@dataclass(frozen=True)
class StepContext:
    """What a step gets to work with.

    Attributes:
        folder: Empty folder to write into; paths inside it are those of the outputs.
        inputs: Where its inputs lie.
        given: What the step's ``read`` returned.
        progress: To be called with the share that is done, in [0, 1].
    """

    folder: Path
    inputs: Mapping[str, Path]
    given: Any
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a run.

    Attributes:
        name: Unique in a run; names its record.
        folder: Where its files go, relative to the run's folder; "." is the run's folder itself.
        make: Writes the outputs; returns facts for the record (``method``, ``weights``), as JSON values.
        inputs: Files it reads.
        parameters: Values that its result depends on, as JSON values.
        code: Modules whose sources, with all they import, its result depends on.
        weights: Weight files it uses.
        read: Reads what the caller gave and complains of it, before anything is said or made.
        announcement: Said once before it starts: what it will need.
    """

    name: str
    folder: str
    make: Callable[[StepContext], dict[str, Any] | None]
    inputs: Mapping[str, Path] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    read: Callable[[], Any] = lambda: None
    announcement: str = ""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What is remembered of a step's last run.

    Attributes:
        name: The step's.
        key: Hash of everything the result depends on; None while files are being renamed into place.
        outputs: SHA-256 of each file, by its path relative to the run's folder.
        made_from: The parts of the key, for people who ask why a step ran again.
        seconds: How long it took [s].
        peak_memory_mb: Largest resident memory during it [10^6 bytes].
        peak_gpu_mb: Largest GPU allocation [10^6 bytes], or None.
        facts: What the step itself reports.
    """

    name: str
    key: str | None
    outputs: dict[str, str]
    made_from: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    peak_gpu_mb: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def read_record(out: Path, name: str) -> StepRecord | None:
    """The record of a step's last run; None if there is none that can be read."""
    try:
        return StepRecord(**json.loads(_record_path(out, name).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def made_from(step: Step) -> dict[str, Any]:
    """The parts of a step's key: hashes of its inputs, weights and code, and its parameters.

    Raises:
        FileNotFoundError: an input is missing.
    """
    for path in step.inputs.values():
        if not path.is_file():
            raise FileNotFoundError(f"{step.name} needs {path}, which does not exist")
    return {
        "inputs": {name: digest_of_file(path) for name, path in sorted(step.inputs.items())},
        "parameters": json.loads(json.dumps(dict(step.parameters))),
        "weights": [digest_of_file(path) for path in step.weights],
        "code": digest_of_code(step.code),
    }


def is_up_to_date(step: Step, out: Path) -> bool:
    """Whether the step's outputs in ``out`` are what it would make now."""
    record = read_record(out, step.name)
    if record is None or not record.outputs or record.key != digest_of_value(made_from(step)):
        return False
    return all((out / name).is_file() and digest_of_file(out / name) == value for name, value in record.outputs.items())


def run_step(step: Step, out: Path, begin: Callable[[], Progress] = lambda: lambda share: None) -> StepRecord:
    """Runs a step and puts its files into place; on any failure the folder stays as it was.

    Args:
        step: What to run.
        out: The run's folder.
        begin: Called once the step has found nothing wrong with what the caller gave; returns what is called with
            the share that is done.

    Raises:
        FileNotFoundError: an input is missing.
        NotADirectoryError, IsADirectoryError: a file stands where the step's folder should be, or the reverse.
        ValueError, ...: as the step's own ``read``.
        OSError: the disk is full (errno ENOSPC), in a sentence that names the step.
    """
    parts = made_from(step)
    target = out / step.folder
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target} is a file, but {step.name} needs a folder of that name")
    partial = out / STATE / f"partial-{step.name}"
    shutil.rmtree(partial, ignore_errors=True)
    started = time.perf_counter()
    try:
        partial.mkdir(parents=True)
        with peak_memory() as peak:
            given = step.read()
            facts = step.make(StepContext(partial, step.inputs, given, begin())) or {}
        record = StepRecord(
            name=step.name,
            key=digest_of_value(parts),
            outputs={},
            made_from=parts,
            seconds=round(time.perf_counter() - started, 3),
            peak_memory_mb=peak.cpu_mb,
            peak_gpu_mb=peak.gpu_mb,
            facts=facts,
        )
        return _put_into_place(step, out, partial, record)
    except Exception as error:
        if _disk_is_full(error, out):
            sentence = f"the disk is full: {step.name} was not written to {out}; free some space and run again"
            raise OSError(errno.ENOSPC, sentence) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_into_place(step: Step, out: Path, partial: Path, record: StepRecord) -> StepRecord:
    """Renames a finished step's files to their names, removes those of its last run that are no more, records it."""
    made = sorted(p for p in partial.rglob("*") if p.is_file())
    outputs = {(Path(step.folder) / p.relative_to(partial)).as_posix(): digest_of_file(p) for p in made}
    for name in outputs:
        if (out / name).is_dir():
            raise IsADirectoryError(f"{out / name} is a folder, but {step.name} needs a file of that name")
    old = read_record(out, step.name)
    before = old.outputs if old else {}
    written = {name: {*_mixed(old).get(name, ()), digest} for name, digest in before.items()}
    _keep_what_is_in_the_way(out, outputs, written)
    # From here on the folder holds a mixture: the record says so until all names are right.
    mixed = {name: sorted({*written.get(name, ()), digest}) for name, digest in outputs.items()}
    _write_record(out, StepRecord(name=step.name, key=None, outputs={**outputs, **before}, facts={"mixed": mixed}))
    for path in made:
        target = out / step.folder / path.relative_to(partial)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    for name in before:
        stale = out / name
        if name not in outputs and stale.is_file() and digest_of_file(stale) in written[name]:  # changed: theirs
            stale.unlink()
    record = StepRecord(**{**asdict(record), "outputs": outputs})
    _write_record(out, record)
    return record


def _mixed(record: StepRecord | None) -> dict[str, list[str]]:
    """Of a step that was stopped while its files were renamed: what each may be, by its hash."""
    return record.facts.get("mixed", {}) if record is not None and record.key is None else {}


def _keep_what_is_in_the_way(out: Path, outputs: Mapping[str, str], written: Mapping[str, set[str]]) -> None:
    """Copies files that are about to be replaced, and that no run wrote as they are, to where nothing is lost."""
    kept = []
    for name, digest in outputs.items():
        path = out / name
        if not path.is_file() or path.stat().st_size == 0:
            continue
        found = digest_of_file(path)
        if found == digest or found in written.get(name, ()):
            continue
        place = out / STATE / REPLACED / name
        numbered = (place.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(1))
        place = next(p for p in chain((place,), numbered) if not p.exists())
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
        kept.append((name, place))
    if kept:
        more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        name, place = kept[0]
        logger.warning("%s%s is not as a run wrote it; it is made again, yours is kept: %s", name, more, place)


def _record_path(out: Path, name: str) -> Path:
    return out / STATE / f"{name}.json"


def _write_record(out: Path, record: StepRecord) -> None:
    atomic_write_json(_record_path(out, record.name), asdict(record))


def _disk_is_full(error: Exception, out: Path) -> bool:
    """Whether a failure is a full disk's; encoders report it in words of their own, so the disk is asked too."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        seen = seen.__cause__ or seen.__context__
    caused_by_files = isinstance(error, OSError | RuntimeError) and not isinstance(error, FileNotFoundError)
    return caused_by_files and shutil.disk_usage(out).free < 1 << 20
