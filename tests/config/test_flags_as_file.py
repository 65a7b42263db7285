"""Flags as a file: what the file says is what the flags said."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from proxy.config.flags import as_file, quoted
from proxy.config.load import parse_flags
from tests.config.loading import FLAG_ENDS, Workplace

GITHUB = ["--path", "/g", "--provider", "github", "--secret-file", "github.secret"]
TOKEN = ["--path", "/t", "--token-query", "k", "--token-file", "token"]
REST = [
    *("--exact", "--method", "POST", "--method", "PUT", "--allow", "192.0.2.0/24", "--max-body", "1MiB"),
    *("--max-fields", "50", "--tcp", "ssh=127.0.0.1:0=127.0.0.1:22", "--tcp", "127.0.0.1:0=127.0.0.1:25"),
    *("--workers", "2", "--drain", "5s"),
]


def text_of(*argv: str) -> str:
    return as_file(parse_flags(argv).given)


@pytest.mark.parametrize(
    "argv", [GITHUB, [*GITHUB, *REST], ["--path", "/t", "--token-query", "k", "--token-file", "token"]]
)
def test_the_file_says_what_the_flags_say(place: Workplace, argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    flags, file = place.load(None, *FLAG_ENDS, *argv), place.load(text_of(*FLAG_ENDS, *argv))
    [one], [other] = flags.policy.routes, file.policy.routes
    for name in ("path", "exact", "methods", "allow", "provider", "limits", "upstream", "signature", "token"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("listen", "workers", "drain_s", "tcp"):
        assert [str(getattr(flags.settings, name))] == [str(getattr(file.settings, name))], name


def test_every_route_gets_its_own_table(place: Workplace) -> None:
    place.secret("s2.secret", b"another secret of this test")
    slack = ["--path", "/s", "--provider", "slack", "--secret-file", "s2.secret"]
    routes = place.load(text_of(*FLAG_ENDS, *GITHUB, *slack)).policy.routes
    assert [(route.name, route.path) for route in routes] == [("github", b"/g"), ("slack", b"/s")]
    twice = text_of(*GITHUB, "--path", "/h", "--provider", "github")
    assert "[route.github]" in twice
    assert "[route.github-2]" in twice


def test_what_may_be_a_secret_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "hunter2" not in text_of("--secret-file", "hunter2", "--secret-env", "hunter2")


@pytest.mark.parametrize("text", ["", 'a"b', "a\\b", "ü\x7f\n"])
def test_texts_are_quoted_as_toml_has_it(text: str) -> None:
    assert tomllib.loads(f"x = {quoted(text)}") == {"x": text}
