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
from proxy.http1 import RequestHead

_LOOPBACK = rb"(?:localhost|(?:[a-z0-9-]+\.)+localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])\.?(?::[0-9]+)?"
_LOOPBACK_HOST = re.compile(_LOOPBACK)
#: Pages of this host, whatever their port. Of a page without an origin ("null") nobody can say whose it is.
_LOOPBACK_ORIGIN = re.compile(rb"https?://" + _LOOPBACK)
#: What a browser says (Fetch Metadata) of a request that was typed in, or that a page of this host makes.
_OWN_SITES = frozenset({b"same-origin", b"same-site", b"none"})

#: How the names begin of what forwarders, tunnels, content delivery networks and hosting platforms add.
TELLTALE = (
    # proxies of every kind
    *(b"forwarded", b"x-forward", b"via", b"x-via", b"x-real", b"x-proxy", b"x-origin", b"x-rewrite-url"),
    *(b"x-remote-", b"x-client-", b"x-cluster-", b"client-ip", b"remote-addr", b"proxy-client-", b"wl-proxy-"),
    *(b"x-scheme", b"x-url-scheme", b"x-host", b"front-end-https", b"surrogate-", b"early-data", b"x-bluecoat-"),
    *(b"x-envoy-", b"x-haproxy-", b"x-varnish", b"x-arr-", b"x-nginx-", b"x-traefik-", b"x-pomerium-", b"x-teleport-"),
    # tunnels
    *(b"tailscale-", b"ngrok-", b"x-ngrok-", b"x-pagekite-", b"x-tunnel-", b"x-zrok-", b"x-localtunnel-", b"x-inlets-"),
    # content delivery networks
    *(b"cf-", b"cdn-", b"x-cdn", b"true-client-", b"fastly-", b"x-fastly-", b"akamai-", b"x-akamai-", b"x-edge-"),
    *(b"cloudfront-", b"x-amz-cf-", b"x-azure-", b"x-fd-", b"incap-", b"x-iinfo", b"x-sucuri-", b"ali-", b"x-bunny"),
    # load balancers and platforms
    *(b"x-amzn-", b"fly-", b"x-fly-", b"x-vercel-", b"x-now-", b"x-nf-", b"x-railway-", b"rndr-", b"x-render-"),
    *(b"x-appengine-", b"x-cloud-trace-", b"x-goog-iap-", b"x-goog-authenticated-", b"x-koyeb-", b"do-connecting-"),
    *(b"x-appservice-", b"x-waws-", b"x-site-deployment-", b"was-default-", b"disguised-host", b"x-request-start"),
    *(b"connect-time", b"total-route-time", b"x-heroku-", b"x-github-codespaces-", b"x-gitpod-", b"x-replit-"),
)


def local_fault(head: RequestHead, client: Peer) -> str:
    """Why ``head`` does not pass in local-only mode, in a word for the log; "" where it passes."""
    if not client.is_loopback:
        return "peer"
    if head.minor != 1:
        return "http_1_0"
    if not _LOOPBACK_HOST.fullmatch(head.host.lower()):
        return "public_host"
    if any(name.startswith(TELLTALE) for name in (*head.values, *head.dropped)):
        return "forwarding_field"
    sites, origins = head.get_all(b"sec-fetch-site"), head.get_all(b"origin")
    if not _OWN_SITES.issuperset(sites) or not all(_LOOPBACK_ORIGIN.fullmatch(origin.lower()) for origin in origins):
        return "other_site"
    return ""
