"""Finds pk3 files (zip archives) below a folder and reads from all of a game's packs as one tree."""

from __future__ import annotations

import zipfile
from pathlib import Path

IMAGE_SUFFIXES = (".tga", ".jpg", ".png", ".jpeg")


class PackFiles:
    """The merged content of one game's pk3 files; a later pack replaces files of an earlier one.

    Args:
        game: The game's name.
        paths: Its pk3 files in loading order.

    Raises:
        ValueError: A file is not a zip archive.
    """

    def __init__(self, game: str, paths: list[Path]) -> None:
        self.game = game
        self.paths = list(paths)
        self._where: dict[str, tuple[zipfile.ZipFile, str]] = {}
        for path in paths:
            try:
                archive = zipfile.ZipFile(path)
            except zipfile.BadZipFile as error:
                raise ValueError(f"{path} must be a pk3 (zip) file, got something else") from error
            for name in archive.namelist():
                if not name.endswith("/"):
                    self._where[name.lower()] = (archive, name)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._where

    def read(self, name: str) -> bytes:
        """Bytes of one file; names ignore case.

        Raises:
            FileNotFoundError: No pack holds it.
        """
        try:
            archive, member = self._where[name.lower()]
        except KeyError:
            raise FileNotFoundError(f"{name} is in none of the packs of {self.game}") from None
        return archive.read(member)

    def names(self, prefix: str = "", suffix: str = "") -> list[str]:
        """Sorted names, in lower case, that start and end as given."""
        return sorted(n for n in self._where if n.startswith(prefix) and n.endswith(suffix))

    def maps(self) -> list[str]:
        """Names of the maps, without suffix; those in a folder of their own have it before a slash."""
        return [n[5:-4] for n in self.names("maps/", ".bsp")]

    def find_image(self, name: str) -> str | None:
        """The stored name of an image whose suffix the map leaves open or has wrong."""
        stem = name.lower().replace("\\", "/").replace("//", "/")
        if stem.endswith(IMAGE_SUFFIXES):
            stem = stem[: stem.rindex(".")]
        return next((stem + s for s in IMAGE_SUFFIXES if stem + s in self._where), None)


def open_games(packs_dir: str | Path) -> dict[str, PackFiles]:
    """Opens every pk3 file anywhere below a folder, grouped by game.

    A pack lies in `<game>/<base folder>/<name>.pk3`, so the game is called after the
    folder above the pack's own. Links to a pack that was met already are ignored.

    Args:
        packs_dir: A folder such as /usr/share/games, or where Debian packages were unpacked.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No pk3 file lies below it, or one is damaged.
    """
    root = Path(packs_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"packs_dir must be a folder, got {root}")
    found = sorted({p.resolve() for p in root.rglob("*.pk3") if p.is_file()})
    if not found:
        raise ValueError(f"packs_dir must hold pk3 files somewhere below it, found none in {root}")
    games: dict[str, list[Path]] = {}
    for path in found:
        games.setdefault(path.parent.parent.name.lower(), []).append(path)
    # archives of one folder load in the order of their names, as the games do
    return {game: PackFiles(game, sorted(paths, key=lambda p: p.name.lower())) for game, paths in games.items()}
