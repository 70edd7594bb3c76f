"""The README: its commands are real, and it has a line for every file."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
NAME_WIDTH = 36


def file_lines() -> list[str]:
    """Every module with the first line of its docstring, rooms and folders before what they hold."""
    lines = []
    for top in ("onescene", "benchmarks", "tests"):
        lines.append(f"{top}/")
        modules = [path for path in (ROOT / top).rglob("*.py") if path != ROOT / top / "__init__.py"]
        for path in sorted(modules, key=lambda path: path.relative_to(ROOT).with_suffix("").parts):
            package = path.name == "__init__.py"
            place = (path.parent if package else path).relative_to(ROOT)
            name = "  " * (len(place.parts) - 1) + place.name + ("/" if package else "")
            first = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
            lines.append(f"{name:<{NAME_WIDTH}}{first}".rstrip())
    return lines


def test_the_readme_has_a_line_per_file():
    """The list under "Every file, a line each" is the modules' first lines; to renew it, run this file."""
    shown = README.read_text("utf-8").split("<summary>Every file, a line each</summary>")[1].split("```")[1]
    assert shown.split("\n")[1:-1] == file_lines(), "python tests/test_readme.py prints what should stand there"


def test_commands_of_the_readme_parse():
    """Every ``onescene ...`` line in a fenced block of the README is a call that the command line understands."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", README.read_text("utf-8"), flags=re.M | re.S)
    lines = [line.strip().removeprefix("$ ") for b in blocks for line in b.replace("\\\n", " ").splitlines()]
    calls = [re.sub(r"\s+#.*", "", line) for line in lines if line.startswith("onescene ")]
    assert calls, "the README shows no onescene command"
    for call in calls:
        assert parses(shlex.split(call)[1:]) is None, call
    targets = {m for line in lines for m in re.findall(r"^make (\w+)", line)}
    assert targets <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.M))


def parses(words: list[str]) -> str | None:
    """Parses a call without running it; returns the complaint, if any."""
    from typer.main import get_command

    from onescene.cli.app import app

    command = get_command(app)
    while hasattr(command, "commands"):  # a group: its own options are only --help
        if not words or words[0] not in command.commands:
            return f"no command {words[:1]}"
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context("onescene", list(words))
    except Exception as error:
        return str(error)
    return None


def test_a_wrong_command_does_not_parse():
    assert parses(["run", "a photo.jpg", "--out", "x"]) is None
    assert parses(["data", "rooms", "--out", "x", "--count", "3"]) is None
    for wrong in (["rum", "a.jpg"], ["run", "a.jpg"], ["run", "a.jpg", "--out", "x", "--zzz"], ["data", "rums"]):
        assert parses(wrong) is not None, wrong


if __name__ == "__main__":
    print("\n".join(file_lines()))
