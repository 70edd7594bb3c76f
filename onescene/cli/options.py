"""Options that commands share: folders (an empty name, of a shell variable that is not set, is none), panoramas."""

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

Method = Annotated[
    str | None, typer.Option(help="How a photo's surroundings are made; `onescene models list` names the methods.")
]
Prompt = Annotated[str | None, typer.Option(help="What the panorama shows, in words.")]
NegativePrompt = Annotated[str | None, typer.Option(help="What it must not show.")]
PitchDeg = Annotated[float | None, typer.Option(help="How far the photo's camera looks up [degrees].")]
RollDeg = Annotated[float | None, typer.Option(help="How far it is turned clockwise about its view axis [degrees].")]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept-license", metavar="NAME", help="Accept a licence of weights; remembered."),
]
