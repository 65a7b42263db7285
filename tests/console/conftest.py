"""A hookward with a console, a route for GitHub, and what asks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.console.asking import ACT, READ
from tests.whole.conftest import SECRET, certificates, secret_file, start, upstream
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream

__all__ = ["certificates", "secret_file", "start", "upstream"]

Start = Callable[..., Hookward]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    (tmp_path / "read").write_text(READ)
    (tmp_path / "act").write_text(ACT)
    for name in ("read", "act"):
        (tmp_path / name).chmod(0o600)
    return made


@pytest.fixture
def begin(start: Start, upstream: RecordingUpstream, secret_file: Path, tmp_path: Path, folder: Path) -> Start:
    """hookward with a console, a route for GitHub, and more of a configuration file."""

    def one(console: str = "", more: str = "", top: str = "", route: str = "", **options: Any) -> Hookward:
        path = tmp_path / "hookward.toml"
        listen = "" if "listen" in console else 'listen = "127.0.0.1:0"\n'
        path.write_text(
            f'listen = "127.0.0.1:0"\nupstream = "{upstream.url}"\nstate_dir = "{folder}"\n{top}\n'
            f'[console]\n{listen}read_token = "file:{tmp_path}/read"\nact_token = "file:{tmp_path}/act"\n{console}\n'
            f'[route.github]\npath = "/hooks"\nprovider = "github"\nsecrets = "file:{secret_file}"\n{route}\n{more}'
        )
        tokens = [SECRET, READ.encode(), ACT.encode()]
        return start("-c", path, listeners=2, secrets=tokens, **options)

    return one
