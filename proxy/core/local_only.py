"""Local-only mode, for a start with nothing configured: what is on this host may pass, and nothing else.

A tunnel or proxy in front connects from this host too, and a web page that is open in a browser here sends from here.
So a request passes only without any sign of them: a loopback peer and Host, HTTP/1.1 (nginx speaks 1.0 unless it is
told otherwise), no field that something in front of us adds, and no browser that asks for another site. When in doubt
it is refused: one flag opens up. What cannot be told apart is bare TCP that is carried here from elsewhere, and a proxy
that adds nothing and writes a loopback Host: the banner says so.
"""

from __future__ import annotations

import re

from proxy.core.addresses import Peer
from proxy.core.setup_faults import SetupFault
from proxy.http1 import RequestHead

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
