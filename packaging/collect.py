"""Collect hookward and what it needs at run time into a folder that may stand first on a path, nothing installed.

`pure` has no machine code and runs on any Python. `site` has uvloop besides, for every Python in VERSIONS: the modules
of several lie side by side, and each Python takes its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
#: Needed only to compile against uvloop or h11, or to test them.
LEFT_OUT = ("*.pyx", "*.pxd", "*.pxi", "*.c", "*.h", "RECORD", "REQUESTED", "direct_url.json", "bin", "_testbase.py")


def run(*words: str | Path) -> None:
    """Run a command, which says itself what goes wrong."""
    subprocess.run([str(word) for word in words], check=True, cwd=ROOT)


def epoch() -> int:
    """The time that everything built has: of the last commit, or what the environment says."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(done.stdout.strip() or 1767225600)


def collect(folder: Path, *, uvloop: bool) -> Path:
    """Fill `folder` anew, and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    wheels = BUILD / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels)
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "download", "--no-deps")
    run(*pip, "--only-binary", ":all:", "-d", wheels, "h11>=0.16")
    for version in VERSIONS if uvloop else ():
        run(*pip, "--only-binary", ":all:", "--python-version", version, "-d", wheels, "uvloop>=0.19")
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    for pattern in LEFT_OUT:
        for path in sorted(folder.rglob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if len(list(folder.glob("uvloop-*.dist-info"))) > 1:
        sys.exit("there is no one version of uvloop for all of Python " + ", ".join(VERSIONS))
    settle(folder)
    return folder


def settle(folder: Path) -> None:
    """Strip machine code, and give all files one time and plain modes, so that another build gives the same bytes."""
    if shutil.which("strip"):
        for module in folder.rglob("*.so"):
            run("strip", "--strip-unneeded", module)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch(), epoch()))


def version() -> str:
    """The version of hookward."""
    namespace: dict[str, str] = {}
    source = (ROOT / "proxy" / "__init__.py").read_text(encoding="utf-8")
    exec(next(line for line in source.splitlines() if line.startswith("__version__")), namespace)  # noqa: S102
    return namespace["__version__"]
