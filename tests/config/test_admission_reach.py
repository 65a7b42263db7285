"""What can never be let in, by where we listen or by guards that want one header; and what can all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.admission import peers
from proxy.config.notation import read_listen
from proxy.config.problems import rule_of
from proxy.core.addresses import Peer
from tests.config.loading import Workplace

ROUTE = '[route.a]\npath = "/a"\nprovider = "github"\nsecrets = ["file:github.secret"]\n'
UPSTREAM = 'upstream = "http://127.0.0.1:8000"\n'
LISTED = 'allow = ["192.0.2.0/24"]\n'


def loading(tmp_path: Path, text: str, *rules: str) -> list[str]:
    """The warnings of these rules that come of a configuration."""
    warnings = Workplace(tmp_path).load(UPSTREAM + text).settings.warnings
    return [one for one in warnings if rule_of(one) in rules]


@pytest.mark.parametrize(
    ("listen", "inside", "outside"),
    [
        ("127.0.0.1:80", ["127.0.0.1", "127.9.9.9", "::1"], ["192.0.2.1", "2001:db8::1"]),
        ("unix:/run/h.sock", [], ["127.0.0.1", "192.0.2.1"]),
        ("[::1]:80", ["::1"], ["2001:db8::1"]),
        ("0.0.0.0:80", ["127.0.0.1", "192.0.2.1"], ["::1"]),
        ("192.0.2.9:80", ["192.0.2.1"], ["2001:db8::1"]),
        ("[2001:db8::9]:80", ["2001:db8::1"], ["192.0.2.1"]),
        ("[::]:80", ["192.0.2.1", "2001:db8::1"], []),
        (":80", ["192.0.2.1", "2001:db8::1"], []),
        ("fd:hooks", ["192.0.2.1", "2001:db8::1"], []),
    ],
)
def test_which_addresses_can_come(listen: str, inside: list[str], outside: list[str]) -> None:
    coming = peers([read_listen(listen)])
    assert all(Peer.of(one) in coming for one in inside)
    assert not any(Peer.of(one) in coming for one in outside)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('listen = "127.0.0.1:80"\n' + ROUTE + LISTED, "loopback only"),
        ('listen = ["127.0.0.1:80", "[::1]:80"]\n' + ROUTE + LISTED, "loopback only"),
        ('listen = "127.0.0.1:80"\n' + LISTED + ROUTE, "loopback only"),
        ('listen = "0.0.0.0:80"\n' + ROUTE + 'allow = ["2001:db8::/32"]\n', "are of IPv4"),
        ('listen = "[2001:db8::9]:80"\n' + ROUTE + LISTED, "are of IPv6"),
        ('listen = "127.0.0.1:80"\ntrusted_proxies = ["10.0.0.0/8"]\n' + ROUTE + LISTED, "no proxy is trusted"),
        (
            'listen = "127.0.0.1:80"\ntrusted_proxies = ["10.0.0.0/8"]\nproxy_protocol = "require"\n' + ROUTE,
            "`trusted_proxies` has none of them",
        ),
        (
            'listen = "unix:/run/h.sock"\ntrusted_proxies = ["10.0.0.0/8"]\nproxy_protocol = "require"\n' + ROUTE,
            "all peers are of this host, and `trusted_proxies` has none of them",
        ),
        ('listen = "127.0.0.1:80"\n' + ROUTE + 'allow = ["127.0.0.1", "192.0.2.0/24"]\ndeny = ["127.0.0.1"]\n', "loop"),
    ],
)
def test_a_route_that_nothing_can_call(tmp_path: Path, text: str, why: str) -> None:
    [told] = loading(tmp_path, text, "H310")
    assert "nothing can call route 'a'" in told
    assert why in told


@pytest.mark.parametrize(
    "text",
    [
        'listen = "127.0.0.1:80"\n' + ROUTE,
        'listen = "127.0.0.1:80"\n' + ROUTE + 'allow = ["127.0.0.2", "192.0.2.0/24"]\n',
        'listen = "127.0.0.1:80"\ntrusted_proxies = ["127.0.0.1"]\n' + ROUTE + LISTED,
        'listen = "127.0.0.1:80"\ntrusted_proxies = ["127.0.0.1"]\nproxy_protocol = "require"\n' + ROUTE + LISTED,
        'listen = ["127.0.0.1:80", "0.0.0.0:81"]\n' + ROUTE + LISTED,
        'listen = ["127.0.0.1:80", "fd:hooks"]\n' + ROUTE + LISTED,
        'listen = "unix:/run/h.sock"\n' + ROUTE + LISTED,  # of which H404 speaks
        'listen = "127.0.0.1:80"\n',
    ],
)
def test_a_route_that_something_can_call(tmp_path: Path, text: str) -> None:
    assert loading(tmp_path, text, "H310") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('listen = "127.0.0.1:22"\nupstream = "127.0.0.1:23"\nallow = ["192.0.2.7"]\n', True),
        ('listen = "0.0.0.0:22"\nupstream = "127.0.0.1:23"\nallow = ["2001:db8::7"]\n', True),
        ('listen = "unix:/run/s"\nupstream = "127.0.0.1:23"\nallow = ["192.0.2.7"]\n', True),
        ('listen = "127.0.0.1:22"\nupstream = "127.0.0.1:23"\nallow = ["127.0.0.1", "192.0.2.7"]\n', False),
        ('listen = "0.0.0.0:22"\nupstream = "127.0.0.1:23"\nallow = ["192.0.2.7"]\n', False),
    ],
)
def test_a_forward_to_which_nothing_can_connect(tmp_path: Path, text: str, *, told: bool) -> None:
    found = loading(tmp_path, f'listen = "0.0.0.0:80"\n{ROUTE}[tcp.ssh]\n{text}', "H310")
    assert bool(found) is told
    assert all("nothing can connect to tcp 'ssh': it listens on " in one for one in found)


def test_each_route_is_told_of_by_itself(tmp_path: Path) -> None:
    other = ROUTE.replace("route.a", "route.b").replace("/a", "/b") + 'allow = ["127.0.0.1"]\n'
    third = ROUTE.replace("route.a", "route.c").replace("/a", "/c") + LISTED
    told = loading(tmp_path, 'listen = "127.0.0.1:80"\n' + ROUTE + LISTED + other + third, "H310")
    assert [one.partition("call route ")[2][:3] for one in told] == ["'a'", "'c'"]


@pytest.mark.parametrize(
    ("token", "clash"),
    [
        ('{ header = "X-Hub-Signature-256", secrets = ["file:token"] }', True),
        ('{ header = "X-Token", secrets = ["file:token"] }', False),
        ('{ query = "x-hub-signature-256", secrets = ["file:token"] }', False),
        ('{ bearer = true, secrets = ["file:token"] }', False),
    ],
)
def test_a_token_where_the_signature_is(tmp_path: Path, token: str, *, clash: bool) -> None:
    told = loading(tmp_path, f'listen = "127.0.0.1:80"\n{ROUTE}token = {token}\n', "H311")
    assert bool(told) is clash
