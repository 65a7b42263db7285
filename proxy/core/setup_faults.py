"""Why a connection came to nothing before its first request: a word, what is the case, and how to mend it. Data.

The first bytes of a connection are unmistakable where two sides speak different protocols (``spoken``). Which words of
OpenSSL mean what is here too (``tls_fault``). Nothing that a client sent is in any of this.
"""

from __future__ import annotations

import re
from enum import Enum

from proxy.core.addresses import Peer
from proxy.core.proxy_protocol import V1_START, V2_START
from proxy.http1 import RequestHead
from proxy.values import frozen


@frozen
class SetupFault:
    """One cause. ``word`` is for metrics and of a closed list; ``said`` and ``mend`` are for people."""

    word: str
    said: str
    mend: str

    @property
    def sentences(self) -> tuple[str, str]:
        """What is the case and how to mend it, each as a sentence by itself."""
        return _sentence(self.said), _sentence(self.mend)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


class Spoken(Enum):
    """What a connection begins with."""

    TLS = "tls"
    HTTP = "http"
    PROXY = "proxy_header"
    UNDECIDED = "undecided"  # the bytes may become HTTP or a PROXY header
    NOTHING = "nothing"  # that is known


_METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"DELETE ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PRI ")
_REQUEST = re.compile(b"|".join(_METHODS))
_HEADERS = (V1_START, V2_START)


def spoken(data: bytes) -> Spoken:
    """Which protocol ``data``, the first bytes of a connection, is of."""
    if data[:1] == b"\x16":  # a record of TLS that holds a handshake: no other protocol begins so
        return Spoken.TLS
    if data.startswith(_HEADERS):
        return Spoken.PROXY
    if _REQUEST.match(data):
        return Spoken.HTTP
    return Spoken.UNDECIDED if any(one.startswith(data) for one in (*_HEADERS, *_METHODS)) else Spoken.NOTHING


NOT_LISTED = SetupFault(
    "address",
    "refused at accept: the address is in no `allow`",
    "add it to `allow` if it is a sender of yours; if it is a proxy or tunnel in front, name it in trusted_proxies",
)
NO_TRUSTED_PROXY = SetupFault(
    "address",
    "refused at accept: only trusted_proxies may connect where a PROXY header is required, and this is none",
    "add it to trusted_proxies if it is your load balancer; a client must come through that",
)
NAMED_NOT_LISTED = SetupFault(
    "address",
    "refused at accept: the address in the PROXY header is in no `allow`",
    "add it to `allow` if it is a sender of yours",
)
FULL = SetupFault(
    "connections",
    "refused at accept: max_connections connections are open",
    "raise max_connections, or look for the addresses that hold them (/status)",
)
MANY_OF_ADDRESS = SetupFault(
    "connections_per_address",
    "refused at accept: the address has max_connections_per_address open",
    "raise it, or name the address in trusted_proxies if it is a proxy of yours that speaks for many",
)
MANY_HANDSHAKES = SetupFault(
    "handshakes",
    "refused at accept: max_handshakes TLS handshakes are under way",
    "raise max_handshakes if this is no flood",
)

ROUTE_NOT_LISTED = SetupFault(
    "not_listed",
    "a request came from an address that its route does not allow",
    "add it to the route's `allow` if it is a sender of yours",
)
DENIED = SetupFault(
    "denied", "a request came from an address that `deny` names", "nothing, if that is meant; else make `deny` narrower"
)
UNTRUSTED_PROXY = SetupFault(
    "untrusted_proxy",
    "a request came from an address that its route does not allow, with fields in which proxies name the client: they "
    "are not read, for the address is not in trusted_proxies",
    "name it there if it is a proxy, tunnel or load balancer of yours; the client that it names is judged then",
)

NO_HEADER = SetupFault(
    "proxy_header",
    "a connection begins without the PROXY header that is required",
    'let the load balancer send one (HAProxy: send-proxy-v2), or write proxy_protocol = "off" if none is in front',
)
TLS_FOR_HEADER = SetupFault(
    "proxy_header",
    "a connection begins with TLS where a PROXY header is required: it comes directly, or the load balancer sends none",
    NO_HEADER.mend,
)
HTTP_FOR_HEADER = SetupFault(
    "proxy_header",
    "a connection begins with HTTP where a PROXY header is required: it comes directly, or the load balancer sends "
    "none",
    NO_HEADER.mend,
)
BROKEN_HEADER = SetupFault(
    "proxy_header",
    "a connection begins with a PROXY header that is broken",
    "let the load balancer send version 1 or 2 of the protocol, for TCP",
)
LATE_HEADER = SetupFault(
    "proxy_header", "a connection is open and its PROXY header did not come whole within 5 s", NO_HEADER.mend
)
NO_CLIENT = SetupFault(
    "proxy_header",
    "a PROXY header names no client, and what follows is no health check",
    "let the load balancer name the client's address: on a unix socket HAProxy knows none",
)

_HEADER_MEND = 'write proxy_protocol = "require" and name the load balancer in trusted_proxies, or let it send none'
TLS_ON_PLAIN = SetupFault(
    "tls_on_plain_port",
    "TLS came to a port that speaks plain HTTP",
    "add [tls] with `cert` and `key`, or write http:// at the sender",
)
PROXY_ON_PLAIN = SetupFault(
    "proxy_header_unexpected", "a connection begins with a PROXY header, and none is expected", _HEADER_MEND
)
HTTP_ON_TLS = SetupFault(
    "http_on_tls_port",
    "TLS failed: http request: plain HTTP came to a port that speaks TLS, and was answered 400",
    "write https:// at the sender; for a proxy in front that ends TLS itself, leave [tls] out",
)
PROXY_ON_TLS = SetupFault(
    "proxy_header_unexpected", "TLS failed: a connection begins with a PROXY header, and none is expected", _HEADER_MEND
)


def plain_fault(data: bytes) -> SetupFault | None:
    """What was mixed up where ``data`` came to a port that speaks plain HTTP, and is no request; None for nothing."""
    return {Spoken.TLS: TLS_ON_PLAIN, Spoken.PROXY: PROXY_ON_PLAIN}.get(spoken(data))


UNKNOWN = SetupFault("other", "TLS failed: unknown", "nothing is known of it; see the sender's own log")
TIMEOUT = SetupFault(
    "timeout",
    "TLS failed: tls_timeout: the client did not go on within it",
    "nothing, if it is rare: a scan, or a broken network; a load balancer's check should only connect, or speak TLS",
)
GONE = SetupFault(
    "gone",
    "TLS failed: ended by the client in the middle of the handshake",
    "nothing, if it is rare; a client that does so each time may not trust our certificate: see its own log",
)

_CHAIN = (
    "serve the whole chain (fullchain.pem and not cert.pem), of an authority that the client knows; "
    "`hookward check` shows names and dates"
)
_UNTRUSTED = ("untrusted", "the client does not trust our certificate", _CHAIN)
_NOT_ACCEPTED = ("untrusted", "the client does not accept our certificate: its authority, its names or its use", _CHAIN)
_EXPIRED = (
    "expired",
    "the client says that our certificate has expired or is not valid yet",
    "renew it, or mend a clock",
)
_VERSION = ("protocol", "no version of TLS in common", "let the client speak TLS 1.2 or 1.3")
_CIPHER = ("cipher", "no cipher or curve in common", "let the client offer ECDHE with AES-GCM or ChaCha20")
_NO_CERTIFICATE = (
    "client_certificate",
    "client_ca asks for a certificate, and the client shows none",
    "give the client its certificate, or write client_required = false",
)
_NO_TLS = ("no_tls", "what came is no TLS", "nothing, if it is rare: mostly a scan")
_NAME = ("name", "the client asks for a name that cannot be one", "nothing: a scan")

#: By the names that OpenSSL gives its reasons. What is not here is told in its words.
_MEANINGS: dict[str, tuple[str, str, str]] = {
    "TLSV1_ALERT_UNKNOWN_CA": _UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _NOT_ACCEPTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _NOT_ACCEPTED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _NOT_ACCEPTED,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _NOT_ACCEPTED,
    "TLSV1_ALERT_ACCESS_DENIED": _NOT_ACCEPTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _EXPIRED,
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "VERSION_TOO_LOW": _VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "WRONG_SSL_VERSION": _VERSION,
    "INAPPROPRIATE_FALLBACK": _VERSION,
    "NO_SHARED_CIPHER": _CIPHER,
    "NO_SHARED_GROUPS": _CIPHER,
    "NO_SUITABLE_KEY_SHARE": _CIPHER,
    "NO_SUITABLE_GROUPS": _CIPHER,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": _CIPHER,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _CIPHER,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _CIPHER,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": _NO_CERTIFICATE,
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "CALLBACK_FAILED": _NAME,
    "UNEXPECTED_EOF_WHILE_READING": (GONE.word, "the client ended in the middle", GONE.mend),
}

#: Of failures of TLS: the values of a label.
TLS_WORDS = (
    *dict.fromkeys(word for word, _, _ in _MEANINGS.values()),
    *(one.word for one in (HTTP_ON_TLS, PROXY_ON_TLS, TIMEOUT, UNKNOWN)),
)


def tls_fault(reason: str, when: str = "") -> SetupFault:
    """What OpenSSL's ``reason`` ("NO_SHARED_CIPHER", "" where it gives none) means; ``when`` follows its words."""
    if not reason:
        return SetupFault(UNKNOWN.word, UNKNOWN.said + when, UNKNOWN.mend)
    words = f"TLS failed: {reason.lower().replace('_', ' ')}{when}"
    if reason not in _MEANINGS:
        return SetupFault(UNKNOWN.word, words, UNKNOWN.mend)
    word, meaning, mend = _MEANINGS[reason]
    return SetupFault(word, f"{words}: {meaning}", mend)


def client_certificate_fault(message: str) -> SetupFault:
    """The client's certificate did not verify; ``message`` is OpenSSL's."""
    mend = "let an authority of client_ca issue it, and see that it has not expired"
    return SetupFault("client_certificate", f"TLS failed: the client's certificate: {message}", mend)


# -- Local-only mode, for a start with nothing configured: what is on this host may pass, and nothing else.
#
# A tunnel or proxy in front connects from this host too, and a web page that is open in a browser here sends from
# here. So a request passes only without any sign of them: a loopback peer and Host, HTTP/1.1 (nginx speaks 1.0 unless
# it is told otherwise), no field that something in front of us adds, and no browser that asks for another site. When
# in doubt it is refused: one flag opens up. What cannot be told apart is bare TCP that is carried here from
# elsewhere, and a proxy that adds nothing and writes a loopback Host: the banner says so.

_LOOPBACK = rb"(?:localhost|(?:[a-z0-9-]+\.)+localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])\.?(?::[0-9]+)?"
_LOOPBACK_HOST = re.compile(_LOOPBACK)
#: Pages of this host, whatever their port. A page without an origin ("null") may be of any site.
_LOOPBACK_ORIGIN = re.compile(rb"https?://" + _LOOPBACK)
#: All that browsers tell that know no Fetch Metadata, of a request that needs no ``Origin``.
_LOOPBACK_PAGE = re.compile(_LOOPBACK_ORIGIN.pattern + rb"(?:/.*)?")
#: What a browser says (Fetch Metadata) of a request that was typed in, or that a page of this host makes.
_OWN_SITES = frozenset({b"same-origin", b"same-site", b"none"})

#: How the names begin of what forwarders, tunnels, content delivery networks and hosting platforms add.
TELLTALE = tuple(
    # proxies of every kind
    b"forwarded x-forward xforward http- via x-via x-real x-proxy x-origin x-rewrite-url x-remote- x-client- "
    b"x-cluster- client-ip remote-addr proxy-client- wl-proxy- x-scheme x-url-scheme x-host front-end-https surrogate- "
    b"early-data x-bluecoat- x-envoy- x-haproxy- x-varnish x-arr- x-nginx- x-traefik- x-pomerium- x-teleport- "
    # tunnels
    b"tailscale- ngrok- x-ngrok- x-pagekite- x-tunnel- x-zrok- x-localtunnel- x-inlets- "
    # content delivery networks
    b"cf- cdn- x-cdn true-client- fastly- x-fastly- akamai- x-akamai- x-edge- cloudfront- x-amz-cf- x-azure- x-fd- "
    b"incap- x-iinfo x-sucuri- ali- x-bunny "
    # load balancers and platforms
    b"x-amzn- fly- x-fly- x-vercel- x-now- x-nf- x-railway- rndr- x-render- x-appengine- x-cloud-trace- x-goog-iap- "
    b"x-goog-authenticated- x-koyeb- do-connecting- x-appservice- x-waws- x-site-deployment- was-default- "
    b"disguised-host x-request-start connect-time total-route-time x-heroku- x-github-codespaces- x-gitpod- "
    b"x-replit-".split()
)


_MEND = (
    "configure a route: --path, --provider, --secret-file (`hookward init` writes one); --open would forward all of it"
)


def _fault(word: str, why: str, mend: str = _MEND) -> SetupFault:
    return SetupFault(word, f"nothing is configured, so only this host may pass, and {why}", mend)


NOT_LOOPBACK = _fault("not_loopback", "the client has the address of another")
HTTP_1_0 = _fault(
    "http_1_0",
    "the request is HTTP/1.0, as nginx and others in front speak it unless they are told otherwise",
    f"ask by HTTP/1.1 if it comes from this host; else {_MEND}",
)
PUBLIC_HOST = _fault(
    "public_host", "the request's Host is no loopback name: a tunnel, a proxy or a public name brought it here"
)
FORWARDING_FIELD = _fault(
    "forwarding_field", "the request has a field that proxies, tunnels and CDNs add: another host may be behind it"
)
FOREIGN_ORIGIN = _fault(
    "foreign_origin",
    "a browser sends the request for a page of another site",
    f"open that page from a loopback name, or {_MEND}",
)


def local_fault(head: RequestHead, client: Peer) -> SetupFault | None:
    """Why ``head`` does not pass in local-only mode; None where it passes."""
    if not client.is_loopback:
        return NOT_LOOPBACK
    if head.minor != 1:
        return HTTP_1_0
    if not _LOOPBACK_HOST.fullmatch(head.host.lower()):
        return PUBLIC_HOST
    if any(name.startswith(TELLTALE) for name in (*head.values, *head.dropped)):
        return FORWARDING_FIELD
    return None if _is_of_own_site(head) else FOREIGN_ORIGIN


def _is_of_own_site(head: RequestHead) -> bool:
    """Whether no page of another site has made a browser send this."""
    return (
        _OWN_SITES.issuperset(head.get_all(b"sec-fetch-site"))
        and all(_LOOPBACK_ORIGIN.fullmatch(origin.lower()) for origin in head.get_all(b"origin"))
        and all(_LOOPBACK_PAGE.fullmatch(page.lower()) for page in head.get_all(b"referer"))
    )
