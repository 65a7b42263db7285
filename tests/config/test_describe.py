from __future__ import annotations

import pytest

from proxy.config.describe import describe
from tests.config.loading import ENDS, KEEPER, SECRET, Workplace

FULL = """listen = ["0.0.0.0:443", "unix:/run/h.sock"]
upstream = "http://127.0.0.1:8000"
trusted_proxies = "10.0.0.0/8"
admin = "127.0.0.1:4040"
[limits]
head_timeout = "5s"
[[tls]]
cert = "token"
names = ["a.example", "b.example"]
[route.github]
path = "/hooks/github"
allow = ["192.0.2.0/24", "unix:"]
provider = "github"
secrets = [{ name = "new", from = "file:github.secret" }, { name = "old", from = "file:token", not_after = 2026-12-15 }]
events = ["push", "ping"]
max_body = "1MiB"
hold = "30s"
[route.slack]
path = "/slack"
exact = true
provider = "slack"
secrets = [{ name = "s", from = "file:token" }]
body = "hold"
mode = "observe"
[route.query]
path = "/q"
token = { query = "t", secrets = "file:token" }
[tcp.ssh]
listen = "0.0.0.0:2222"
upstream = "127.0.0.1:22"
allow = "198.51.100.1"
"""

EXPECTED = """Listens on 0.0.0.0:443, unix:/run/h.sock, with TLS for a.example, b.example.
Every address may connect.
Trusts proxies at 10.0.0.0/8 to name the client.
Answers for health and metrics on 127.0.0.1:4040.

Route github: POST /hooks/github and below, to http://127.0.0.1:8000.
    May call: 192.0.2.0/24 and peers on unix sockets.
    Proof: signature of github in x-hub-signature-256 (HMAC-SHA256), with the secrets new, old (until 2026-12-15).
    Body: tail: nothing is passed on within 256KiB; beyond, all but the end, until the proof holds.
    Events: ping, push; others are refused.
    Tighter limits: max_body 1MiB.
    An upstream that is unreachable or not ready is waited for: 9s.

Route slack: POST /slack alone, to http://127.0.0.1:8000.
    May call: every address.
    Proof: signature of slack in x-slack-signature (HMAC-SHA256), not older or newer than 300s, with the secret s.
    Body: hold: nothing is passed on until the proof holds.
    ONLY OBSERVED: a delivery whose proof fails is passed on and counted.

Route query: POST /q and below, to http://127.0.0.1:8000.
    May call: every address.
    Proof: token (query parameter t, which is then removed), with the secret token-1.
    Body: free: it is passed on as it comes.

What no route owns is answered 404.

TCP ssh: 0.0.0.0:2222 to 127.0.0.1:22.
    May connect: 198.51.100.1.

Limits that differ from their defaults: head_timeout 5s (default 10s)."""


def test_the_whole_text(place: Workplace) -> None:
    text = describe(place.load(FULL))
    assert text == EXPECTED
    assert SECRET.decode() not in text
    assert "t0ken" not in text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            ENDS,
            (
                "Local only: requests of this host to a loopback name are passed on to http://127.0.0.1:8000; "
                "all others are refused."
            ),
        ),
        (ENDS + "open = true", "OPEN: every request is passed on to http://127.0.0.1:8000, and nothing is checked."),
        (ENDS + 'allow = "192.0.2.1"', "Only 192.0.2.1 may connect; all others are reset at accept."),
        (ENDS + 'allow = "192.0.2.1"', "    Proof: none."),
        (
            ENDS + 'proxy_protocol = "require"\ntrusted_proxies = "10.0.0.1"',
            "Every connection must begin with a PROXY header.",
        ),
        (ENDS + 'proxy_protocol = "require"\ntrusted_proxies = "10.0.0.1"', "Only trusted proxies may connect."),
        (
            ENDS + 'allow = "192.0.2.1"\nkernel_filter = "auto"',
            "Only 192.0.2.1 may connect; the kernel filter drops all others.",
        ),
        (ENDS + 'kernel_filter = "auto"', "Every address may connect. The kernel filter drops nothing."),
        (
            ENDS + 'kernel_filter = "auto"\nproxy_protocol = "require"\ntrusted_proxies = "10.0.0.1"',
            "Only trusted proxies may connect. The kernel filter is off: the kernel cannot see what they name.",
        ),
        (
            ENDS + '[tls]\ncert = "/dev/../etc/passwd"',
            "Listens on 127.0.0.1:8443, with TLS for the names in /dev/../etc/passwd.",
        ),
        (
            ENDS + '[route.a]\ntoken = { header = "X-T", secrets = "file:token" }',
            "    Proof: token (header x-t), with the secret token-1.",
        ),
        (
            ENDS + '[route.a]\ntoken = { bearer = true, secrets = "file:token" }',
            "    Proof: token (Authorization: Bearer), with the secret token-1.",
        ),
        (
            ENDS + '[route.a]\nprovider = "gitlab"\nsecrets = "file:token"',
            "    Proof: token of gitlab (header x-gitlab-token), with the secret secret-1.",
        ),
        (
            ENDS + '[route.a]\nprovider = "slack"\nsecrets = "file:token"\nhandshake = "answer"',
            "    The provider's endpoint check is answered here.",
        ),
    ],
)
def test_lines(place: Workplace, text: str, line: str) -> None:
    assert line in describe(place.load(text)).splitlines()


def test_a_port_alone_is_every_address(place: Workplace) -> None:
    text = describe(place.load(ENDS.replace('"127.0.0.1:8443"', '":8443"')))
    assert text.startswith("Listens on port 8443 of every address of this host, IPv4 and IPv6, without TLS.")


def test_published_sets_are_called_by_their_names(place: Workplace) -> None:
    route = '[route.a]\nallow = ["set:github", "198.51.100.7"]\n'
    text = describe(place.load(ENDS + route), {"github": "8 networks, of 2 days ago"})
    assert "    May call: set:github (8 networks, of 2 days ago), 198.51.100.7." in text.splitlines()
    route = '[route.a]\nallow = ["0.0.0.0/0"]\n'
    assert "    May call: everybody with an IPv4 address." in describe(place.load(ENDS + route)).splitlines()


@pytest.mark.parametrize(
    ("deliver", "what"), [("queue", "every delivery"), ("fallback", "what the application cannot be given now")]
)
def test_what_is_kept_is_told(place: Workplace, deliver: str, what: str) -> None:
    guard = 'provider = "github"\nsecrets = "file:github.secret"\n'
    rule = f'deliver = "{deliver}"\naccepted_status = 200\nretry = {{ for = "2h" }}\n'
    lines = describe(place.load(f'state_dir = "/srv/h"\n{ENDS}[route.a]\n{guard}{rule}'))
    assert "Keeps deliveries in /srv/h/queue." in lines
    told = "the sender is told 200 once it is on stable storage, and it is tried for 2h."
    assert f"    Kept: {what}; {told}" in lines


def test_where_it_is_kept_is_told_without_the_url(place: Workplace) -> None:
    queue = '[queue]\nstore = "redis"\nurl = "redis://cache.internal"\n'
    lines = describe(place.load(f'{KEEPER}deliver = "queue"\n{queue}'))
    assert "Keeps deliveries in a Redis." in lines
    assert "cache.internal" not in lines
