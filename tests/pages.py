"""The documents, as tests read them: their fenced blocks, by language and by the mark behind it (``sh rotate``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_ABOVE = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md", "bench/NOTES.md"]
PAGES = [*(ROOT / name for name in _ABOVE), *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```([a-z]+)(?: ([a-z-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str, mark: str = "", pages: list[Path] = PAGES) -> list[Block]:
    """Those of that language and mark, in order."""
    found = []
    for page in pages:
        text = page.read_text()
        for match in _FENCE.finditer(text):
            if (match[1], match[2] or "") == (language, mark):
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(page, line, language, mark, match[3]))
    return found


def block(page: str, language: str, mark: str) -> str:
    """The text of the only one of that kind on that page of ``docs``."""
    [one] = blocks(language, mark, [ROOT / "docs" / page])
    return one.text


def anchors(page: Path) -> set[str]:
    """The fragments that links into a page may have, made of its headings as GitHub makes them."""
    plain = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
