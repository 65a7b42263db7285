"""What the tests of the configuration share: loading a text or flags, and the problems that come of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from proxy.config.load import load
from proxy.config.settings import Loaded
from proxy.core.policy import Route
from proxy.errors import ConfigError, FlagError, Problem

SECRET = b"It's a Secret to Everybody"
NOW = dt.datetime(2026, 10, 1, tzinfo=dt.UTC).timestamp()
#: A listener and an upstream: what every good configuration has.
ENDS = 'listen = "127.0.0.1:8443"\nupstream = "http://127.0.0.1:8000"\n'
#: The guard of a route: by signature, by address.
GITHUB = 'provider = "github"\nsecrets = "file:github.secret"\n'
ALLOW = 'allow = "192.0.2.0/24"\n'
#: A route that may keep what it admits, with room for more of its keys.
KEEPER = f'state_dir = "state"\n{ENDS}[route.hook]\n{GITHUB}'
FLAG_ENDS = ("--listen", "127.0.0.1:8443", "--upstream", "127.0.0.1:8000")


def route(text: str) -> str:
    """A good configuration with one route, ``a``."""
    return f"{ENDS}[route.a]\n{text}"


class Workplace:
    """A folder with a configuration, secrets and lists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "hookward.toml"
        self.secret("github.secret", SECRET)
        self.secret("token", b"t0ken-4711")
        self.secret("basic", b"user:pass-7731")
        self.environ: dict[str, str] = {}

    def secret(self, name: str, value: bytes, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_bytes(value)
        path.chmod(mode)
        return path

    def load(self, text: str | None = None, *argv: str, environ: Mapping[str, str] | None = None) -> Loaded:
        words = list(argv)
        if text is not None:
            self.config.write_text(text)
            words += ["--config", str(self.config)]
        return load(words, {**self.environ, **(environ or {})}, now=NOW)

    def routes(self, text: str | None = None, *argv: str) -> dict[str, Route]:
        return {route.name: route for route in self.load(text, *argv).policy.routes}

    def problems(self, text: str | None = None, *argv: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
        """All problems, with the file called "hookward.toml"."""
        try:
            self.load(text, *argv, environ=environ)
        except (ConfigError, FlagError) as error:
            prefix = f"{self.folder}/"
            return [
                Problem(str(p.place).replace(prefix, ""), p.what.replace(prefix, ""), p.mend.replace(prefix, ""))
                for p in error.problems
            ]
        return []

    def places(self, text: str | None = None, *argv: str, environ: Mapping[str, str] | None = None) -> list[str]:
        return [problem.where for problem in self.problems(text, *argv, environ=environ)]
