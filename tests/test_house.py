"""Standing guards: the shape of the repository, held by tests."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import TYPECHECK
from packaging.requirements import Requirement

from onescene.pipeline.digests import digest_of_file
from onescene.pipeline.health import sha256s_on_card
from onescene.pipeline.parameters import check_params, read_notebook, read_params

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "onescene"
MODULES = sorted(PACKAGE.rglob("*.py"))

TOP_LEVEL = {
    *("notebooks", "onescene", "params", "results", "tests", "environment.yml", "README.md"),
    *("pyproject.toml", "Makefile", ".ci", "LICENSE", "benchmarks", "examples", ".gitignore"),
}
DESIGN_CARD = "torch jupyterlab ipywidgets papermill diffusers gsplat plotly matplotlib lpips pandas".split()

ROOMS = "types geometry splatting metrics models data training stages io viewer plots pipeline cli".split()
MAY_IMPORT = {
    "types": "",
    "geometry": "types",
    "splatting": "types geometry",
    "metrics": "types geometry",
    "models": "types geometry splatting",
    "data": "types geometry metrics",
    "training": "types geometry splatting metrics models data",
    "stages": "types geometry splatting metrics models",
    "io": "types geometry",
    "viewer": "types geometry splatting io",
    "plots": "types geometry metrics",
    "pipeline": "types geometry splatting metrics models data training stages io viewer plots",
    "cli": "types geometry splatting metrics models data training stages io viewer plots pipeline",
    "__main__": "cli",
    "": "",
}
DRAWING_AND_FILES = {"matplotlib", "plotly", "PIL", "imageio_ffmpeg", "gaussforge", "IPython", "tqdm", "rich"}


def name_of(path: Path) -> str:
    """``onescene.geometry.cubemap`` of its file."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """``geometry`` of ``onescene.geometry.cubemap``; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function, with its full name."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            # `from onescene import io` names a room by its alias
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "onescene" else {module}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


@cache
def tracked() -> tuple[Path, ...]:
    """Files under version control, as git lists them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: no list of tracked files")
    names = [n.decode() for n in listed.stdout.split(b"\0") if n]
    return tuple(ROOT / n for n in names if (ROOT / n).is_file())


# --- rooms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path):
    room = room_of(name_of(path))
    assert room in MAY_IMPORT, f"{room} is not a room of the house: {ROOMS}"
    allowed = {*MAY_IMPORT[room].split(), room}
    ours = {room_of(m) for m in imports_of(path) if m.startswith("onescene.")} - {"__version__"}
    assert ours <= allowed, f"{name_of(path)} imports {sorted(ours - allowed)}; {room} may import {sorted(allowed)}"


def test_the_order_of_rooms_has_no_cycle():
    for room, allowed in MAY_IMPORT.items():
        if room in ROOMS:
            assert {ROOMS.index(r) < ROOMS.index(room) for r in allowed.split()} <= {True}, room


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(name_of(p)) in ("models", "stages")], ids=name_of)
def test_models_and_stages_import_no_files_and_no_plots(path):
    assert not {m.split(".")[0] for m in imports_of(path)} & DRAWING_AND_FILES


def test_a_hidden_import_is_found(tmp_path, monkeypatch):
    """The guard sees what stands inside functions, behind relative names and behind import_module."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "onescene" / "stages" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "def f():\n    from ..io import images\n    import importlib\n    importlib.import_module('onescene.cli')\n"
    )
    assert {"onescene.io", "onescene.cli", "importlib"} <= imports_of(path)
    path.write_text("from onescene import plots\n")
    assert imports_of(path) == {"onescene.plots"}


# --- style -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_short_and_silent(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < 300
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
    assert not [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=["lint", "format"])
def test_ruff(arguments):
    files = [str(p) for p in tracked() if p.suffix in (".py", ".ipynb")]
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", *files]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


# --- repository ------------------------------------------------------------------------------------------------------


def test_the_top_level_is_what_it_should_be():
    names = {p.relative_to(ROOT).parts[0] for p in tracked()}
    assert names == TOP_LEVEL


def test_no_file_names_a_machine():
    folders = "|".join(["work", "root", "tmp", "home", "Users"])
    machine = re.compile(rb"(?<![\w.~})/-])/(?:" + folders.encode() + rb")/[\w.-]+")
    found = [
        (p.relative_to(ROOT).as_posix(), m.group().decode())
        for p in tracked()
        for m in machine.finditer(p.read_bytes())
    ]
    assert not found


def test_no_file_is_large():
    large = [(p.relative_to(ROOT).as_posix(), p.stat().st_size) for p in tracked() if p.stat().st_size > 16 * 2**20]
    assert not large


def test_weights_have_a_card_that_names_them():
    shipped = sorted(PACKAGE.rglob("*.safetensors"))
    assert shipped
    for path in shipped:
        assert digest_of_file(path) in sha256s_on_card(path), f"{path.name} is not the file that its model card names"


# --- environment -----------------------------------------------------------------------------------------------------


def requirements(lines) -> dict[str, Requirement]:
    return {r.name.lower(): r for r in map(Requirement, lines)}


def declared() -> tuple[dict[str, Requirement], dict[str, Requirement], list[str]]:
    """Requirements of pyproject.toml (core, lpips extra) and the pip lines of environment.yml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip_lines = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    return requirements(project["dependencies"]), requirements(project["optional-dependencies"]["lpips"]), pip_lines


def test_environment_and_pyproject_agree():
    core, lpips, lines = declared()
    assert "-e ." in lines
    conda = requirements(line for line in lines if not line.startswith("-"))
    assert {n: str(r.specifier) for n, r in conda.items()} == {n: str(r.specifier) for n, r in (core | lpips).items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert f"python{project['requires-python']}" in environment["dependencies"]


def test_environment_names_the_design_card():
    _, _, lines = declared()
    assert set(DESIGN_CARD) <= set(requirements(line for line in lines if not line.startswith("-")))


def test_a_plain_install_brings_no_torchvision():
    core, _, _ = declared()
    assert not {"torchvision", "timm", "lpips", "piq", "opencv-python", "torch-fidelity"} & set(core)
    assert "<2.14" in str(core["torch"].specifier)


# --- notebooks -------------------------------------------------------------------------------------------------------

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMS = sorted(p for p in (ROOT / "params").glob("*/*.yaml") if re.match(r"\d\d_", p.name))


def code_cells(path: Path) -> list[dict]:
    return [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_short_and_defines_nothing(path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
    assert path.stat().st_size <= 400_000
    cells = code_cells(path)
    assert len(cells) <= 12
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        assert len(source.splitlines()) <= 15, f"code cell {number} has over 15 lines"
        assert not re.search(r"^\s*(def|class)\s|^\s*[!%]pip|sys\.path", source, flags=re.M), f"code cell {number}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_was_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c["outputs"] if o["output_type"] == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_says_what_it_is_about_and_has_plain_parameters(path):
    notebook = read_notebook(path)  # exactly one tagged cell, literals only
    assert "results" in notebook.defaults
    source = "".join(next(c for c in code_cells(path) if c["metadata"].get("tags"))["source"])
    assert all("#" in line for line in source.strip().splitlines()), "a comment per parameter"
    opening = "".join(json.loads(path.read_text("utf-8"))["cells"][0]["source"])
    assert all(word in opening for word in ("Goal", "Inputs", "Outputs", "Time"))
    for preset in ("small", "paper"):
        assert (ROOT / "params" / preset / f"{path.stem}.yaml").is_file(), (
            f"params/{preset}/{path.stem}.yaml is missing"
        )


@pytest.mark.parametrize("path", PARAMS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_params_name_only_what_the_notebook_defines(path):
    notebook = read_notebook(ROOT / "notebooks" / f"{path.stem}.ipynb")
    check_params(read_params(path), notebook.defaults, path.name)


# --- shapes are checked ----------------------------------------------------------------------------------------------


def test_canary_a_wrong_shape_is_refused():
    """The checker can be silently off; this is how we would know."""
    if not TYPECHECK:
        pytest.skip("shape checking is off: run with ONESCENE_TYPECHECK=1, as `make test` does")
    import torch
    from jaxtyping import TypeCheckError

    from onescene.geometry.equirect import directions_from_lonlat

    directions_from_lonlat(torch.zeros(5, 2))
    with pytest.raises(TypeCheckError):
        directions_from_lonlat(torch.zeros(5, 3))
