"""Deliveries that a configuration names as tests: run through every check, and told with the cause where they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.settings import Loaded
from proxy.core.schemes import PROVIDERS
from proxy.tools.check import run_fixtures
from proxy.tools.samples import choose
from proxy.tools.send import tampered
from proxy.tools.sending import Order, compose

SECRET = b"0123456789abcdef-fixtures"
NOW = 1_772_356_500.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    order = Order(PROVIDERS["slack"], SECRET, "https://h.example/slack", choose(PROVIDERS["slack"], None), NOW)
    (tmp_path / "good.http").write_bytes(compose(order).wire())
    (tmp_path / "newline.http").write_bytes(tampered(order, "newline").wire())
    (tmp_path / "junk").write_bytes(b"junk")
    return tmp_path


def loaded(place: Path, stanza: str) -> Loaded:
    (place / "hookward.toml").write_text(
        'listen = "127.0.0.1:1"\nupstream = "127.0.0.1:2"\n[route.slack]\npath = "/slack"\nprovider = "slack"\n'
        f'secrets = ["file:secret"]\nallow = ["192.0.2.0/24", "unix:"]\n[[test]]\n{stanza}\n'
    )
    return load(["-c", str(place / "hookward.toml")], {})


@pytest.mark.parametrize(
    "stanza",
    [
        'file = "good.http"',
        'file = "good.http"\nat = 2026-03-01T09:15:10Z',
        'file = "good.http"\nfrom = "192.0.2.7"',
        'file = "good.http"\nfrom = "unix:"',
        'file = "good.http"\nfrom = "198.51.100.1"\nexpect = "address_refused"',
        'file = "good.http"\nat = 1772366500\nexpect = "timestamp_too_old"',
        'file = "newline.http"\nexpect = "signature_mismatch"',
    ],
)
def test_what_is_expected_comes_of_it(place: Path, stanza: str):
    [result] = run_fixtures(loaded(place, stanza), NOW)
    assert result.problem is None
    assert result.said


@pytest.mark.parametrize(
    ("stanza", "what", "mend"),
    [
        ('file = "newline.http"', "signature_mismatch, and admitted was expected", "secret_blank_there: "),
        ('file = "good.http"\nexpect = "signature_mismatch"', "admitted, and signature_mismatch", "hookward explain"),
        ('file = "good.http"\nfrom = "198.51.100.1"', "address_refused, and admitted", "not_listed: "),
        ('file = "none.http"', "cannot be read", "readable file"),
        ('file = "junk"', "no saved delivery", "raw HTTP"),
    ],
)
def test_what_is_not_is_a_problem(place: Path, stanza: str, what: str, mend: str):
    [result] = run_fixtures(loaded(place, stanza), NOW)
    assert result.problem is not None
    assert what in result.problem.what
    assert mend in result.problem.mend
    assert "test[0]" in result.problem.where
    assert SECRET.decode() not in str(result.problem)
