"""What a configuration says about the console, and what would be open to others."""

from __future__ import annotations

import pytest

from proxy.config.describe import describe
from proxy.config.ends import MIN_TOKEN_BYTES
from tests.config.loading import ENDS, Workplace

ROUTE = "[route.a]\nopen = true\n"


def text(console: str) -> str:
    return f"{ENDS}[console]\n{console}\n{ROUTE}"


def told(place: Workplace, configuration: str) -> str:
    return "\n".join(map(str, place.problems(configuration)))


def test_off_unless_it_is_asked_for(place: Workplace) -> None:
    assert place.load(f"{ENDS}{ROUTE}").settings.console is None


def test_its_defaults(place: Workplace) -> None:
    loaded = place.load(text(""))
    found = loaded.settings.console
    assert found is not None
    assert str(found.listen) == "127.0.0.1:4041"
    assert (found.keep, found.keep_bytes, found.store, found.max_age_s) == (500, 32 << 20, None, 7 * 86400.0)
    assert "console on 127.0.0.1:4041" in describe(loaded)


def test_the_file_that_keeps_them(place: Workplace) -> None:
    found = place.load(text('store = "kept.sqlite3"')).settings.console
    assert found is not None
    assert found.store is not None
    assert found.store.endswith("/kept.sqlite3")
    empty = place.load(text('store = ""')).settings.console
    assert empty is not None
    assert empty.store is None


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:4041", "unix:/run/hookward/console.sock"])
def test_what_only_this_host_reaches_needs_nothing(place: Workplace, listen: str) -> None:
    assert place.load(text(f'listen = "{listen}"')).settings.console is not None


def test_tokens_are_long_and_two(place: Workplace) -> None:
    place.secret("short", b"s" * (MIN_TOKEN_BYTES - 1))
    place.secret("long", b"s" * MIN_TOKEN_BYTES)
    warned = place.load(text('read_token = "file:short"')).settings.warnings
    assert any(f"console.read_token: the token has {MIN_TOKEN_BYTES - 1} bytes" in one for one in warned)
    assert "too short" in told(place, text('listen = "0.0.0.0:4041"\nread_token = "file:short"'))
    assert "the same as read_token" in told(place, text('read_token = "file:long"\nact_token = "file:long"'))
    found = place.load(text('read_token = "file:long"')).settings.console
    assert found is not None
    assert found.read_token == b"s" * MIN_TOKEN_BYTES
    assert "sss" not in repr(found)


def test_two_listeners_do_not_want_the_same_place(place: Workplace) -> None:
    assert "two listeners want" in told(
        place, text('listen = "127.0.0.1:4040"').replace(ENDS, f'{ENDS}admin = "127.0.0.1:4040"\n')
    )
