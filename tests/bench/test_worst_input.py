"""The trial of the worst bodies still runs, for one family; its figures mean nothing here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.whole.process import environment

ROOT = Path(__file__).resolve().parents[2]


def test_it_runs() -> None:
    command = [sys.executable, "-m", "bench.attack.worst_input", "--only", "digest in a JWT"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr == ""
    assert "| digest in a JWT |" in done.stdout
