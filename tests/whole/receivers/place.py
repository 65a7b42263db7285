"""Where the receivers are that others have written: ``make .venv/receivers.stamp`` installs them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PLACE = ROOT / ".venv" / "receivers"
PYTHON = PLACE / "bin" / "python"
NODE = PLACE / "node" / "node_modules"
BUILDBOT = PLACE / "bin" / "buildbot"


def needs(path: Path) -> pytest.MarkDecorator:
    """Skip where ``path`` is not installed."""
    return pytest.mark.skipif(not path.exists(), reason=f"no {path.relative_to(ROOT)}: make .venv/receivers.stamp")
