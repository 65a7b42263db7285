"""GitHub's signature check as a plugin of proxy.py's reverse proxy, which has read the whole body when it asks.

Loaded by proxy.py in an environment of its own: its package is called ``proxy``, as ours is.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from proxy.http.exception import HttpRequestRejected
from proxy.http.parser import HttpParser
from proxy.http.server import ReverseProxyBasePlugin

KEY = Path(os.environ["BENCH_SECRET_FILE"]).read_bytes()
ORIGIN = os.environ["BENCH_ORIGIN"].encode()


class SignaturePlugin(ReverseProxyBasePlugin):  # type: ignore[misc]
    """Refuses what is not signed, passes the rest on."""

    def routes(self) -> list[tuple[str, list[bytes]]]:
        return [(r"/hooks/.*$", [ORIGIN + b"/hooks/github"])]

    def before_routing(self, request: HttpParser) -> HttpParser:
        expected = b"sha256=" + hmac.new(KEY, request.body or b"", hashlib.sha256).hexdigest().encode()
        given = request.header(b"x-hub-signature-256") if request.has_header(b"x-hub-signature-256") else b""
        if self.client.addr[0] != "127.0.0.1" or not hmac.compare_digest(expected, given):
            raise HttpRequestRejected(status_code=403, reason=b"Forbidden")
        return request
