"""Other people's JavaScript readers, for tests: run where Node and an npm package are there, skipped where not.

No test fetches anything. To run them: ``npm install gltf-validator three @gltf-transform/core playcanvas
@playcanvas/splat-transform@2``, then set ``ONESCENE_NODE_MODULES`` to the ``node_modules`` that came of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

MODULES = Path(os.environ.get("ONESCENE_NODE_MODULES") or Path(__file__).resolve().parents[1] / "node_modules")


def needs_npm(package: str) -> Path:
    """The folder of an npm package; skips the test where it is not installed."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (MODULES / package / "package.json").is_file():
        pytest.skip(f"npm package {package} is not in $ONESCENE_NODE_MODULES ({MODULES}): see tests/npm.py")
    return MODULES / package


def run_node(script: str, *arguments: str | Path) -> Any:
    """Runs a module whose last line of output is JSON; ``process.argv[1...]`` are the arguments."""
    command = ["node", "--input-type=module", "-e", script, "--", *map(str, arguments)]
    done = subprocess.run(command, cwd=MODULES.parent, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def gltf_errors(path: Path) -> list[str]:
    """What Khronos's glTF validator calls an error or a warning in a file."""
    needs_npm("gltf-validator")
    script = """
        import fs from "fs";
        import validator from "gltf-validator";
        const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])));
        console.log(JSON.stringify(report.issues.messages));
    """
    return [f"{m['code']} {m['pointer']} {m['message']}" for m in run_node(script, path) if m["severity"] < 2]
