"""Local-only mode: a request passes without any sign of something in front of us, and not otherwise."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.addresses import Peer
from proxy.core.forwarding import FORWARDING
from proxy.core.request_head import read_request_head
from proxy.core.schemes import PROVIDERS
from proxy.core.setup_faults import TELLTALE, local_fault
from tests.policies import HEAD_LIMITS

HERE = Peer.of("127.0.0.1")
BY_HAND = [
    "User-Agent: curl/8",
    "Accept: */*",
    "Content-Type: application/json",
    "X-Request-Id: 1",
    "Connection: close",
]


def fault(*lines: str, host: str = "localhost:8080", version: str = "1.1", peer: Peer = HERE) -> str:
    text = "\r\n".join([f"POST /any HTTP/{version}", f"Host: {host}", *BY_HAND, *lines, "Content-Length: 0", "", ""])
    read = read_request_head(text.encode("latin-1"), HEAD_LIMITS)
    assert read is not None
    found = local_fault(read[0], peer)
    return "" if found is None else found.word


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "a.b.localhost", "127.0.0.1", "127.1.2.3:80", "[::1]:80"])
@pytest.mark.parametrize("peer", [HERE, Peer.of("127.9.9.9"), Peer.of("::1"), Peer.of("::ffff:127.0.0.1"), Peer.unix()])
def test_this_host_passes(host: str, peer: Peer) -> None:
    assert fault(host=host, peer=peer) == ""


def test_each_fault_has_its_word() -> None:
    assert fault(peer=Peer.of("192.0.2.7")) == "not_loopback"
    assert fault(version="1.0") == "http_1_0"
    assert fault("Via: 1.1 a") == "forwarding_field"
    assert fault("Origin: https://a.example") == "foreign_origin"


@pytest.mark.parametrize(
    "host",
    ["hooks.example.com", "localhost.example", "127.0.0.1.nip.io", "xlocalhost", "[::2]", "0.0.0.0", "2130706433"],
)
def test_another_name_does_not(host: str) -> None:
    assert fault(host=host) == "public_host"


#: As the programs write them, to which a request says that they stand in front.
FIELDS = re.findall(
    r"\S+",
    """
Forwarded Forwarded-For X-Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Ssl
X-Forwarded-User X-Forwarded-Client-Cert X-Forwarded-Anything X-ForwardedFor X-Original-Forwarded-For X-Original-Host
X-Original-Url X-Rewrite-Url X-Originating-IP Via X-Via X-Real-IP X-RealIP X-Client-IP Client-IP X-Cluster-Client-IP
X-Remote-IP X-Remote-Addr X-ProxyUser-Ip WL-Proxy-Client-IP Proxy-Client-IP X-Scheme Front-End-Https Early-Data
CF-Connecting-IP CF-Connecting-IPv6 CF-Ray CF-Visitor CF-IPCountry CF-Warp-Tag-ID CF-EW-Via CDN-Loop Cdn-RequestId
True-Client-IP Fastly-Client-IP Fastly-FF Fastly-SSL Akamai-Origin-Hop X-Akamai-Edgescape X-Varnish Surrogate-Capability
CloudFront-Viewer-Address X-Amz-Cf-Id X-Amzn-Trace-Id X-Amzn-Tls-Version X-Azure-ClientIP X-Azure-FDID X-Azure-Ref
X-FD-HealthProbe X-ARR-LOG-ID X-ARR-SSL X-AppService-Proto X-WAWS-Unencoded-URL X-Site-Deployment-Id Disguised-Host
X-Envoy-External-Address X-Envoy-Expected-Rq-Timeout-Ms X-Vercel-Id X-Vercel-Forwarded-For X-Nf-Request-Id
X-Appengine-User-Ip X-Cloud-Trace-Context X-Goog-Iap-Jwt-Assertion Fly-Client-IP Fly-Forwarded-Port Fly-Request-Id
X-Railway-Request-Id Rndr-Id Do-Connecting-Ip X-Koyeb-Backend X-Request-Start Tailscale-User-Login
Tailscale-Funnel-Request Ngrok-Auth-User-Email Ngrok-Skip-Browser-Warning X-Ngrok-Domain X-PageKite-Port
Incap-Client-IP X-Iinfo X-Sucuri-ClientIP Ali-CDN-Real-IP XForwardedFor HTTP-Via
""",
)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_something_in_front(name: str) -> None:
    for spelled in (name, name.lower(), name.upper(), name.replace("-", "_"), name.replace("-", "."), f"_{name}"):
        assert fault(f"{spelled}: 127.0.0.1") == "forwarding_field", spelled


@given(
    st.sampled_from(["X-Forwarded-", "cf-", "FLY-", "Tailscale-", "x-azure-", "x-amzn-"]),
    st.text("abcXYZ019-_.", max_size=9),
)
def test_whatever_follows_a_telling_beginning(start: str, rest: str) -> None:
    for name in (start + rest, (start + rest).replace("-", "_")):
        assert fault(f"{name}: 1") == "forwarding_field"


def test_all_that_is_dropped_elsewhere_is_telling() -> None:
    assert [name for name in FORWARDING if not name.startswith(TELLTALE)] == []


def test_fields_of_deliveries_are_not() -> None:
    """A recorded delivery may be played again on this host, but for those of the CDNs and platforms themselves."""
    names = {name for one in PROVIDERS.values() for name in (one.event_header, one.delivery_header) if name}
    names |= {name for one in PROVIDERS.values() if one.scheme for name in one.scheme.header_names}
    names |= {one.token.name for one in PROVIDERS.values() if one.token is not None and one.token.name}
    assert {name for name in names if name.startswith(TELLTALE)} <= {b"x-vercel-signature", b"cf-webhook-auth"}


@pytest.mark.parametrize(
    "line",
    [
        *(
            "Origin: http://localhost:3000",
            "Origin: http://127.0.0.1",
            "Origin: https://[::1]:8443",
            "Origin: HTTP://LOCALHOST",
        ),
        *(
            "Referer: http://localhost:3000/a?b=https://c.example/",
            "Referer: http://127.0.0.1",
            "Referer: https://[::1]/",
        ),
        *("Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: same-site"),
    ],
)
def test_a_page_of_this_host_passes(line: str) -> None:
    assert fault(line) == ""


@pytest.mark.parametrize(
    "lines",
    [
        *(["Origin: https://evil.example"], ["Origin: null"], ["Origin: "], ["Origin: file://"], ["Origin: localhost"]),
        *(["Origin: http://localhost.evil.example"], ["Origin: http://evil.example/localhost"]),
        *(["Origin: http://localhost@evil.example"], ["Origin: http://localhost", "Origin: https://evil.example"]),
        *(["Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: "], ["Sec-Fetch-Site: same-origin, cross-site"]),
        *(["Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: SAME-ORIGIN"]),
        ["Sec-Fetch-Site: same-origin", "Origin: https://evil.example"],
        *(["Referer: https://evil.example/"], ["Referer: http://localhost.evil.example/"], ["Referer: about:client"]),
        *(["Referer: http://localhost@evil.example/"], ["Referer: https://evil.example/http://localhost/"]),
    ],
    ids=repr,
)
def test_a_page_of_another_site_does_not(lines: list[str]) -> None:
    assert fault(*lines) == "foreign_origin"
