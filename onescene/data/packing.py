"""Makes a folder of packed panoramas, file by file: interruptible, resumable, several processes at once."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from onescene.data.panoramas import INDEX_NAME, write_index

Progress = Callable[[str, int, int], None]


def pack(
    out: Path,
    tasks: dict[str, tuple],
    render: Callable[..., dict],
    parameters: dict,
    split: str,
    sources: dict,
    workers: int,
    progress: Progress | None = None,
) -> dict:
    """Makes the files of a folder that are not there with the same parameters.

    Interrupting loses at most the files under way.

    Args:
        out: The folder; made if need be.
        tasks: By a file's name without its suffix: what ``render`` is called with.
        render: Writes one file and returns its entry of the index, with the number of its ``panoramas``; a function
            of a module, because it may run in another process.
        parameters: All that the pictures depend on.
        split: Stored in the index.
        sources: Stored in the index: what it was made from.
        workers: Processes; 1 = this one.
        progress: Called with the last file's name, how many are done, and how many there are.

    Returns:
        The index as written to ``index.json``.
    """
    out.mkdir(parents=True, exist_ok=True)
    index = {"parameters": parameters, "split": split, "maps": _kept(out, parameters), "sources": sources}
    write_index(out, index)
    todo = {name: task for name, task in tasks.items() if name not in index["maps"]}
    for done, (name, entry) in enumerate(_rendered(todo, render, workers), len(tasks) - len(todo) + 1):
        index["maps"][name] = entry
        write_index(out, index)
        if progress is not None:
            progress(name, done, len(tasks))
    return index


def _kept(out: Path, parameters: dict) -> dict[str, dict]:
    """The entries of a folder's index that still hold: made with the same parameters, their files there."""
    try:
        old = json.loads((out / INDEX_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    if old.get("parameters") != parameters:
        return {}
    entries = old.get("maps", {})
    return {k: e for k, e in entries.items() if not e["panoramas"] or (out / f"{k}.npz").is_file()}


def _rendered(tasks: dict[str, tuple], render: Callable[..., dict], workers: int) -> Iterator[tuple[str, dict]]:
    """Names with their entries as they come; one worker is this process itself.

    Few tasks are under way at a time, so that an interruption ends soon.
    """
    if workers == 1 or len(tasks) < 2:
        for name, task in tasks.items():
            yield name, render(*task)
        return
    waiting: dict[Future, str] = {}
    queue = list(tasks)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=min(workers, len(tasks)), mp_context=context)
    try:
        while queue or waiting:
            while queue and len(waiting) < workers + 1:
                name = queue.pop(0)
                waiting[pool.submit(render, *tasks[name])] = name
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
