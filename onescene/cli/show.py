"""How a run shows itself on stderr: one line that moves on a terminal, a line per step elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

import typer

from onescene.pipeline.progress import RunProgress

MIN_INTERVAL_S = 0.1


class ProgressLine:
    """Draws the moments of a run."""

    def __init__(self) -> None:
        self._moving = sys.stderr.isatty()
        self._drawn = 0.0

    def __call__(self, moment: RunProgress) -> None:
        """Shows a moment."""
        where = f"[{moment.index}/{moment.total}] {moment.step}"
        if moment.note:
            self._line(moment.note)
        if moment.state == "running":
            self._running(where, moment)
        elif moment.state == "skipped":
            self._line(f"{where}: up to date")
        else:
            left = f", about {_duration(moment.seconds_left)} left" if moment.index < moment.total else ""
            self._line(f"{where}: done in {_duration(moment.seconds)}{left}")

    def _running(self, where: str, moment: RunProgress) -> None:
        left = f"about {_duration(moment.seconds_left)} left"
        if not self._moving:
            if moment.share == 0:
                typer.echo(f"{where} ... ({left})", err=True)
            return
        now = time.monotonic()
        if moment.share in (0.0, 1.0) or now - self._drawn >= MIN_INTERVAL_S:
            self._drawn = now
            text = f"{where}: {100 * moment.share:3.0f} %, {left}"
            typer.echo(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}", nl=False, err=True)

    def _line(self, text: str) -> None:
        typer.echo(f"\r\033[K{text}" if self._moving else text, err=True)

    def close(self) -> None:
        """Ends a line that was left open."""
        if self._moving and self._drawn:
            typer.echo("\r\033[K", nl=False, err=True)


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
