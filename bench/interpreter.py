"""The Python that hookward, the aiohttp peer and the floor are measured on.

Distributions build Python with optimisation by profile and at link time. What pyenv or a bare ``./configure`` builds
has neither, and takes a seventh more for each delivery: such figures compare builds of Python, not proxies. So the
distribution's own is meant, in an environment that ``make bench-install`` makes; ``--python`` names another.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: Of the distribution's ``/usr/bin/python3``, with what the peers need.
DISTRIBUTIONS = Path(__file__).resolve().parents[1] / ".venv" / "bench" / "python" / "bin" / "python"
NEEDED = ("h11", "uvloop")

_ASK = """
import importlib.metadata, importlib.util, json, os, platform, sys, sysconfig
asked = sys.argv[1:]
print(json.dumps({
    "python": platform.python_version(),
    "lacks": [name for name in asked if importlib.util.find_spec(name) is None],
    "versions": {name: importlib.metadata.version(name) for name in asked if importlib.util.find_spec(name)},
    "from": os.path.realpath(sys.executable),
    "compiler": platform.python_compiler(),
    "optimised": "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
}))
"""


class UnfitError(Exception):
    """An interpreter that cannot run hookward; the text says why, and what to do."""


class Interpreter:
    """One Python: ``path`` starts it. Raises UnfitError where it cannot run hookward."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        command = [self.path, "-c", _ASK, *NEEDED, "aiohttp"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnfitError(f"{self.path} does not run: {error}") from error
        self._found = json.loads(done.stdout)
        lacks = [name for name in self._found["lacks"] if name in NEEDED]
        if lacks:
            mend = f"{self.path} -m pip install {' '.join(lacks)}"
            raise UnfitError(f"{self.path} lacks {' and '.join(lacks)}: {mend}")

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that the peers need."""
        return dict(self._found["versions"])

    def __str__(self) -> str:
        origin = self._found["from"]
        if origin.startswith("/usr/bin/"):
            build = "as the distribution builds it"
        else:
            build = "optimised by profile" if self._found["optimised"] else "built without optimisation by profile"
        return f"{self._found['python']} ({origin}, {build}, {self._found['compiler']})"


def usual() -> Path:
    """The distribution's Python where ``make bench-install`` has prepared it, else the one that runs this."""
    return DISTRIBUTIONS if DISTRIBUTIONS.exists() else Path(sys.executable)
