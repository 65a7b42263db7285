"""Print what dependency groups of pyproject.toml ask for, a requirement a line, for a pip that cannot read them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def requirements(names: list[str]) -> list[str]:
    """The requirements of these groups, in their order."""
    groups = tomllib.loads(PROJECT.read_text())["dependency-groups"]
    return [requirement for name in names for requirement in groups[name]]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
