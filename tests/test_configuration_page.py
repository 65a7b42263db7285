"""The page of the configuration is made from the schema, and names every flag and variable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from proxy.config.flags import FLAGS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"


def test_the_page_is_made_from_the_schema() -> None:
    command = [sys.executable, "scripts/configuration_page.py"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert PAGE.read_text() == made.stdout, "run: python scripts/configuration_page.py > docs/configuration.md"


def test_every_flag_and_variable_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert [name for flag in FLAGS for name in (flag.option, flag.variable) if f"`{name}`" not in text] == []
