"""Where a run stands and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RunProgress:
    """A moment of a run.

    Attributes:
        step: Name of the step.
        index: Its number, from 1.
        total: Number of steps.
        state: ``running``; ``done``; ``skipped`` (it was up to date).
        share: Share of the step that is done, in [0, 1].
        seconds: How long the step has run [s].
        seconds_left: Until the end of the run [s]; an estimate.
        note: What the step says before it starts; empty at every other moment.
    """

    step: str
    index: int
    total: int
    state: Literal["running", "done", "skipped"]
    share: float
    seconds: float
    seconds_left: float
    note: str = ""


class Clock:
    """Estimates the time left from what each step took before, corrected by how this run has gone so far.

    Args:
        expected: Steps with their expected time [s].
        report: Called with every moment; None = nobody listens.
        now: Clock [s].
    """

    def __init__(
        self,
        expected: Sequence[tuple[str, float]],
        report: Callable[[RunProgress], None] | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = [name for name, _ in expected]
        self._expected = dict(expected)
        self._report = report
        self._now = now
        self._done_expected = self._done_actual = 0.0
        self._started = now()

    def skipped(self, name: str) -> None:
        """The step is up to date."""
        self._say(name, "skipped", 1.0, 0.0)

    def started(self, name: str, note: str = "") -> Callable[[float], None]:
        """The step begins, with what it has to say; returns what it calls with its share."""
        self._started = self._now()
        self._say(name, "running", 0.0, 0.0, note)
        return lambda share: self._say(name, "running", min(max(share, 0.0), 1.0), self._now() - self._started)

    def finished(self, name: str) -> None:
        """The step is through."""
        seconds = self._now() - self._started
        self._done_expected += self._expected[name]
        self._done_actual += seconds
        self._say(name, "done", 1.0, seconds)

    def _say(
        self, name: str, state: Literal["running", "done", "skipped"], share: float, seconds: float, note: str = ""
    ) -> None:
        if self._report is None:
            return
        index = self._names.index(name)
        later = sum(self._expected[n] for n in self._names[index + 1 :]) * self._pace()
        own = 0.0
        if state == "running":
            guess = self._expected[name] * self._pace() * (1 - share)
            # the own pace of a step counts more the further it is
            own = guess if share == 0 else (1 - share) * guess + share * seconds * (1 - share) / share
        self._report(RunProgress(name, index + 1, len(self._names), state, share, seconds, later + own, note))

    def _pace(self) -> float:
        """How much slower than expected this run is; 1 until something was done."""
        prior = 1.0  # seconds that count as evidence for the expected pace
        return (self._done_actual + prior) / (self._done_expected + prior)
