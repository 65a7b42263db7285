"""Paths as people write them, text in and text out: a relative one stays as it was typed, for the messages about it."""

from __future__ import annotations

import os


def beside(folder: str, path: str) -> str:
    """``path``, where it is relative as seen from ``folder``; "" is the folder that we stand in."""
    return os.path.join(folder, path)  # noqa: PTH118 - pathlib would write "./a" and "a//b" in another way


def folder_of(path: str) -> str:
    """What ``path`` lies in; "" where it is a bare name."""
    return os.path.dirname(path)  # noqa: PTH120 - pathlib makes "." of ""
