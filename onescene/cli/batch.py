"""``onescene batch``: notebooks over params files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(batch)


def batch(
    params: Annotated[list[Path], typer.Argument(help="Params files (YAML), or folders of them such as params/small.")],
    notebook: Annotated[
        str | None, typer.Option(help="Number, name or path; default: the one a params file is named after.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Notebooks at a time on this machine.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of results [default: results/].")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler whose workers run them, tcp://HOST:PORT.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again what is up to date.")] = False,
) -> int:
    """Run notebooks over params files, into results/NOTEBOOK/NAME/ and a table.

    Every key is checked before anything runs. A run that fails does not stop the others; a run that is up to date is
    skipped.
    """
    from onescene.pipeline.batch import clean_up, plan_jobs
    from onescene.pipeline.table import write_table
    from onescene.pipeline.workers import run_on_cluster, run_on_threads

    jobs = plan_jobs(params, notebook, out)
    started = time.perf_counter()
    failed = []
    results = run_on_cluster(jobs, scheduler, fresh) if scheduler is not None else run_on_threads(jobs, workers, fresh)
    try:
        for done, result in enumerate(results, start=1):
            left = (time.perf_counter() - started) / done * (len(jobs) - done)
            line = f"[{done}/{len(jobs)}] {result.label}: {result.state} ({result.seconds:.1f} s)"
            typer.echo(f"{line}, about {left:.0f} s left" if done < len(jobs) else line, err=True)
            if result.state == "failed":
                failed.append(result)
                typer.echo(f"    {result.error}", err=True)
    except KeyboardInterrupt:
        clean_up(jobs)
        raise
    for folder in dict.fromkeys(job.folder.parent for job in jobs):
        table = write_table(folder)
        if len(table):
            shown = table.T.to_string(float_format="{:.4g}".format)  # runs side by side
            typer.echo(f"\n{folder.name} ({folder / 'table.csv'})\n{shown}")
    if failed:
        typer.echo(
            f"onescene: {len(failed)} of {len(jobs)} runs failed: {', '.join(r.label for r in failed)}", err=True
        )
    return 1 if failed else 0
