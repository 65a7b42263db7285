from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import kinds
from proxy.config.kinds import Kind
from proxy.errors import Mistake
from tests.examples import examples

KINDS = {name: value for name, value in vars(kinds).items() if isinstance(value, Kind)}


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        ("BOOL", True, True),
        ("COUNT", 3, 3),
        ("WORKERS", "auto", "auto"),
        ("WORKERS", 4, 4),
        ("FILE", "/etc/x", "/etc/x"),
        ("ACCESS_LOG", "-", "-"),
        ("ACCESS_LOG", "off", "off"),
        ("ACCESS_LOG", "/var/log/x", "/var/log/x"),
        ("ROUTE_PATH", "/", b"/"),
        ("ROUTE_PATH", "/flexdeploy/webhooks/v2/git", b"/flexdeploy/webhooks/v2/git"),
        ("ROUTE_PATH", "/a/", b"/a/"),
        ("METHOD", "POST", b"POST"),
        ("HEADER", "X-Gitlab-Token", b"x-gitlab-token"),
        ("QUERY_KEY", "token", b"token"),
        ("MEDIA_TYPE", "application/JSON", b"application/json"),
        ("MEDIA_TYPE", "application/vnd.github.v3+json", b"application/vnd.github.v3+json"),
        ("REFERENCE", "file:/a", "file:/a"),
        ("REFERENCE", "env:A", "env:A"),
        ("REFERENCE", "cred:a", "cred:a"),
        ("INSTANT", dt.date(1970, 1, 2), 86400.0),
        ("INSTANT", dt.datetime(1970, 1, 2), 86400.0),  # noqa: DTZ001 - TOML has local times
        ("INSTANT", dt.datetime(1970, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), 79200.0),
        ("URL", "https://hooks.example.com/a?b=c", "https://hooks.example.com/a?b=c"),
        ("SERVER_NAME", "Hooks.Example.com.", "hooks.example.com"),
        ("SERVER_NAME", "*.example.com", "*.example.com"),
        ("SERVER_NAME", "192.0.2.1", "192.0.2.1"),
    ],
)
def test_good(kind: str, written: object, value: object) -> None:
    assert KINDS[kind].read(written) == value


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("BOOL", 1),
        ("BOOL", "true"),
        ("MEDIA_TYPE", "json"),
        ("MEDIA_TYPE", "application/*"),
        ("MEDIA_TYPE", "application/json; charset=utf-8"),
        ("MEDIA_TYPE", "a/b/c"),
        ("COUNT", True),
        ("COUNT", "3"),
        ("COUNT", 1.0),
        ("WORKERS", 0),
        ("WORKERS", 1025),
        ("WORKERS", True),
        ("WORKERS", "many"),
        ("FILE", ""),
        ("FILE", "a\0b"),
        ("FILE", "file:/a"),
        ("FILE", 5),
        ("TEXT", ""),
        ("TEXT", "a\nb"),
        ("NAME", "a b"),
        ("NAME", ""),
        ("NAME", "x" * 65),
        ("ROUTE_PATH", "a"),
        ("ROUTE_PATH", "/a?b"),
        ("ROUTE_PATH", "/a#b"),
        ("ROUTE_PATH", "/a/*"),
        ("ROUTE_PATH", "/a/../b"),
        ("ROUTE_PATH", "//a"),
        ("ROUTE_PATH", "/a b"),
        ("ROUTE_PATH", "/%2e"),
        ("ROUTE_PATH", "/ä"),
        ("METHOD", "post"),
        ("METHOD", "CONNECT"),
        ("METHOD", "TRACE"),
        ("METHOD", "A B"),
        ("HEADER", "X Y"),
        ("HEADER", "X:"),
        ("HEADER", "X_Token"),
        ("HEADER", "X.Token"),
        ("QUERY_KEY", "a=b"),
        ("QUERY_KEY", "a&b"),
        ("REFERENCE", "file:"),
        ("REFERENCE", 5),
        ("INSTANT", "2026-12-15"),
        ("INSTANT", dt.time(1)),
        ("URL", "hooks.example.com"),
        ("URL", "ftp://a"),
        ("URL", "https://u:p@a"),
        ("URL", "https://a/#b"),
        ("URL", "https://a:99999"),
        ("URL", "https://[::1"),
        ("SERVER_NAME", "a b"),
        ("SERVER_NAME", "*"),
        ("SERVER_NAME", "-a.example"),
    ],
)
def test_bad(kind: str, written: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        KINDS[kind].read(written)


def test_a_literal_secret_is_not_repeated() -> None:
    with pytest.raises(Mistake) as caught:
        kinds.REFERENCE.read("hunter2-hunter2")
    assert "hunter2" not in caught.value.what + caught.value.mend
    assert "file:/path" in caught.value.mend


def test_a_choice_says_what_was_meant() -> None:
    with pytest.raises(Mistake) as caught:
        kinds.choice("free", "tail", "hold").read("tial")
    assert caught.value.mend == "did you mean 'tail'?"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("Yes", True), ("off", False), ("false", False), ("x", "x")])
def test_truth_in_texts(text: str, value: object) -> None:
    assert kinds.BOOL.from_text(text) == value


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@examples(25)
@given(
    written=st.one_of(
        st.text(max_size=40),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.binary(max_size=9),
        st.dates(),
        st.datetimes(),
        st.times(),
        st.lists(st.integers(), max_size=2),
        st.dictionaries(st.text(), st.text()),
    )
)
def test_junk_raises_value_error_only(kind: Kind, written: object) -> None:
    try:
        kind.read(written)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - raising nothing is as good
