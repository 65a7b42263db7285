"""Make the manual pages and completions, from the parsers and from the table of keys.

``make.py NAME`` prints one, ``make.py FOLDER`` writes all. argparse-manpage and shtab would not serve: neither knows
that ``run`` is the default command, or the words that a flag may take, and there is no fish.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import completions
from manual import command_page, file_page

from proxy.ops.cli import COMMANDS

PAGES: Mapping[str, Callable[[], str]] = {
    "hookward.1": lambda: command_page(COMMANDS),
    "hookward.toml.5": file_page,
    "hookward.bash": lambda: completions.bash(COMMANDS),
    "hookward.zsh": lambda: completions.zsh(COMMANDS),
    "hookward.fish": lambda: completions.fish(COMMANDS),
}


def main(asked: str) -> None:
    """Print the page, or write all into the folder."""
    if asked in PAGES:
        print(PAGES[asked](), end="")
        return
    folder = Path(asked)
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
