"""Build wheel and source archive twice, from copies in two places and at two times, and compare every byte.

``SOURCE_DATE_EPOCH`` is the time of the last commit, or what the environment says. Prints the digests, which everybody
who builds from the same sources gets as well.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from collect import ROOT, epoch

SOURCES = [
    "proxy",
    "tests",
    "bench",
    "scripts",
    "packaging",
    "docs",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "pyproject.toml",
]


def build(place: Path, umask: int) -> dict[str, str]:
    """The digests of what is built from a copy of the sources in ``place``."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        elif source.exists():
            shutil.copyfile(source, place / name)
    for path in place.rglob("*"):
        os.utime(path, (umask, umask))
    command = [sys.executable, "-m", "hatchling", "build"]
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
    subprocess.run(command, cwd=place, env=environ, check=True, capture_output=True, umask=umask)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((place / "dist").iterdir())}


def main() -> int:
    """Build, compare, and say so."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory(prefix="elsewhere") as second:
        one, other = build(Path(first), 0o022), build(Path(second), 0o077)
    for name, digest in one.items():
        print(f"{digest}  {name}{'' if other.get(name) == digest else '  DIFFERS'}")
    return 0 if one == other else 1


if __name__ == "__main__":
    sys.exit(main())
