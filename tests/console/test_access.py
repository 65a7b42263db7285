"""What is let in: statements that are signed, tokens, and pages of our own origin."""

from __future__ import annotations

from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.notation import ListenAddress
from proxy.config.settings import ConsoleSettings
from proxy.console.access import ACT, READ, SESSION_S, Access, Visitor
from proxy.net.http_server import Answer, Caller, Request
from tests.console.kept import head_of

SETTINGS = ConsoleSettings(ListenAddress("127.0.0.1", 4041), 1, 1, read_token=b"r" * 20, act_token=b"a" * 20)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def access(clock: Clock | None = None, key: bytes = b"key") -> Access:
    return Access(SETTINGS, key, frozenset({"console.example"}), 7, clock or Clock())


def request(
    host: bytes = b"127.0.0.1:4041", here: str | None = "127.0.0.1", uid: int | None = None, **fields: bytes
) -> Request:
    lines = [
        b"GET / HTTP/1.1",
        b"Host: " + host,
        *(b"%b: %b" % (k.replace("_", "-").encode(), v) for k, v in fields.items()),
    ]
    return Request(head_of(b"\r\n".join([*lines, b"", b""])), b"", Caller("127.0.0.1", uid), here)


def status(found: Visitor | Answer) -> int:
    return found.status if isinstance(found, Answer) else 200


@pytest.mark.parametrize(("scope", "may_act"), [(READ, False), (ACT, True)])
def test_a_cookie_says_what_it_allows_until_it_is_too_old(scope: str, may_act: bool) -> None:
    clock = Clock()
    guard = access(clock)
    cookie = guard.cookie(scope, secure=False).partition(b";")[0]
    found = guard.judge(request(Cookie=b"other=1; " + cookie))
    assert isinstance(found, Visitor)
    assert found.may_act is may_act
    assert status(access(clock, b"another key").judge(request(Cookie=cookie))) == 401
    clock.now += SESSION_S + 1
    assert status(guard.judge(request(Cookie=cookie))) == 401


def test_another_server_of_the_host_may_have_set_one_of_the_name() -> None:
    guard = access()
    cookie = guard.cookie(READ, secure=False).partition(b";")[0]
    assert status(guard.judge(request(Cookie=b"hookward_console=x; " + cookie))) == 200
    assert status(guard.judge(request(Cookie=b"hookward_console=x; " * 100 + cookie))) == 401, "a few are looked at"
    name, _, value = cookie.partition(b"=")
    assert status(guard.judge(request(Cookie=name + b'="' + value + b'"'))) == 401, "it is not quoted"


@pytest.mark.parametrize("mark", [b"\\", b"\\a", b"\\101", b"=", b"; ", b"hookward_console="])
def test_a_stranger_s_cookie_costs_what_its_length_does(mark: bytes) -> None:
    guard = access()

    def cost(size: int) -> float:
        hostile = request(Cookie=b'hookward_console="' + mark * (size // len(mark)) + b'"')
        best = 1e9
        for _ in range(9):
            began = thread_time()
            found = guard.judge(hostile)
            best = min(best, thread_time() - began)
            assert status(found) == 401
        return best

    # Four times as long takes four times as long at most, and sixteen times with the reader of the standard library.
    assert cost(7600) < 8 * cost(1900)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"Bearer " + b"a" * 20, 200),
        (b"bearer  " + b"r" * 20, 200),
        (b"Bearer " + b"a" * 19, 401),
        (b"Basic " + b"a" * 20, 401),
        (b"", 401),
    ],
)
def test_tokens(value: bytes, wanted: int) -> None:
    assert status(access().judge(request(Authorization=value))) == wanted


def test_the_users_of_a_unix_socket() -> None:
    for uid, wanted in ((7, 200), (0, 200), (8, 401), (None, 401)):
        assert status(access().judge(request(here=None, uid=uid))) == wanted


def test_names_of_this_host() -> None:
    token = b"Bearer " + b"a" * 20
    for host, wanted in (
        (b"console.example:1", 200),
        (b"localhost", 200),
        (b"[::1]:4041", 200),
        (b"evil.example", 403),
    ):
        assert status(access().judge(request(host, Authorization=token))) == wanted


@given(st.text(max_size=80) | st.from_regex(r"act\.[0-9]{4}\.[a-f0-9]{4}\.[a-f0-9]{64}", fullmatch=True))
def test_no_other_text_is_a_cookie(value: str) -> None:
    assert access()._read(value) is None


@given(st.binary(max_size=120))
def test_any_cookie_field_is_judged(value: bytes) -> None:
    plain = bytes(byte for byte in value if 0x20 < byte < 0x7F)
    assert status(access().judge(request(Cookie=plain))) == 401
