"""Run a fast part of the tests with the oldest versions that pyproject.toml promises to work with.

The newest are what every other run uses. An environment of its own, in .venv/lowest; the arguments go to pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venv" / "lowest"
#: Where the oldest promised one has no wheel for a newer Python: the oldest that has.
OLDEST_WHEEL = {"uvloop": {(3, 13): "0.21.0", (3, 14): "0.22.1"}}
FAST = [
    "tests/core/test_request_head.py",
    "tests/core/test_response_head.py",
    "tests/net",
    "tests/whole/test_exchange.py",
]


def project() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text()))


def lower_bounds() -> dict[str, str]:
    """The lower bound of each package that is needed at run time; three numbers, as releases have."""
    found = {}
    for text in project()["project"]["dependencies"]:  # type: ignore[index]
        name, bound = re.match(r"([A-Za-z0-9_-]+)>=([0-9.]+)", text).groups()  # type: ignore[union-attr]
        padded = ".".join([*bound.split("."), "0", "0"][:3])
        found[name] = OLDEST_WHEEL.get(name, {}).get(sys.version_info[:2], padded)
    return found


def main(argv: list[str]) -> int:
    groups = project()["dependency-groups"]
    python = HOME / "bin" / "python"
    if not python.exists():
        venv.create(HOME, with_pip=True)
    pinned = [f"{name}=={bound}" for name, bound in lower_bounds().items()]
    needed = [*pinned, *groups["test"], "hatchling>=1.24"]  # type: ignore[index]
    subprocess.run([python, "-m", "pip", "install", "-q", "--prefer-binary", *needed], check=True)
    print("with", ", ".join(pinned), flush=True)
    command = [python, "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", *(argv or FAST)]
    return subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, "HOOKWARD_LOOP": "uvloop"}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
