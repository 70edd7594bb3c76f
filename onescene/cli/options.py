"""Folders on the command line: an empty name, as of a shell variable that is not set, does not mean this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _named(text: str) -> Path:
    if not text.strip():
        raise typer.BadParameter("it must name a folder, got an empty text")
    return Path(text)


Out = Annotated[Path, typer.Option(parser=_named, metavar="DIR", help="Folder to write into; made if need be.")]
RunFolder = Annotated[Path, typer.Argument(parser=_named, metavar="DIR", help="Folder of a run.")]
