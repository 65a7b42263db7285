"""The fragments of the next version become its entry as it should be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("towncrier", reason="towncrier is not installed")

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of CHANGELOG.md after a release."""
    folder = tmp_path_factory.mktemp("release")
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "changelog.d", folder / "changelog.d")
    words = [sys.executable, "-m", "towncrier", "build", "--keep", "--version", "9.9.9", "--dir", str(folder)]
    subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return (folder / "CHANGELOG.md").read_text().splitlines()


def test_every_fragment_has_its_line(entry: list[str]) -> None:
    begin, end = entry.index("## 9.9.9"), entry.index("## 0.1.0")
    assert entry.index("<!-- fragments -->") < begin < end
    shown = "\n".join(entry[begin:end])
    fragments = [path for path in (ROOT / "changelog.d").glob("*.md") if path.name != "README.md"]
    for path in fragments:
        assert f"\n- {path.read_text().splitlines()[0]}\n" in shown, path.name
    assert sum(line.startswith("- ") for line in entry[begin:end]) == len(fragments)


def test_the_kinds_come_in_their_order(entry: list[str]) -> None:
    heads = [
        line.removeprefix("### ") for line in entry[entry.index("## 9.9.9") : entry.index("## 0.1.0")] if "###" in line
    ]
    assert heads == [kind for kind in KINDS if kind in heads]
    assert {path.name.split(".")[-2].capitalize() for path in (ROOT / "changelog.d").glob("*.*.md")} == set(heads)
