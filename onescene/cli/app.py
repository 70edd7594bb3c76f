"""The commands, put together. What they need is imported when they run, so that ``--help`` is quick."""

from __future__ import annotations

import typer

from onescene.cli import batch, data, doctor, evaluate, files, models, scene, train

app = typer.Typer(
    name="onescene",
    help="One photo becomes a 3D scene to walk through; every step is open to experiment.",
    epilog="Exit codes: 0 done, 2 a mistake in the call, 1 a failure of ours (--debug shows where), 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (scene, files, evaluate, train, data, models, batch, doctor):
    module.register(app)
