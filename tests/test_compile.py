"""What a compiler makes of the networks, and that only those who compile wait for it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_networks_compile_without_the_shape_checker():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/compiled_networks.py"]
    done = subprocess.run(
        command, env=os.environ | {"ONESCENE_TYPECHECK": "0"}, cwd=ROOT, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0 and done.stdout.startswith("... "), done.stdout[-4000:]


def test_nobody_who_does_not_compile_waits_for_the_compiler():
    words = "import sys, onescene.models.one2scene; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], cwd=ROOT, timeout=540).returncode == 0
