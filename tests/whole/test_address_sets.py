"""Address sets through a running hookward: a feed opens the door and closes it, and nothing it breaks does either."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import pytest

from tests.whole.conftest import Certificates
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Client, request

Configured = Callable[..., Hookward]
BODY = b"{}"
FILLER = [f"192.0.2.{n}" for n in range(30)]


class Feed:
    """A provider's feed with TLS, on a thread."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.content = self.listing("127.0.0.1")
        self.status = 200
        feed = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(feed.status)
                self.send_header("Content-Length", str(len(feed.content)))
                self.end_headers()
                self.wfile.write(feed.content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that breaks off a handshake is part of the test."""

        self.server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{'https' if context else 'http'}://localhost:{self.server.server_port}/ranges.json"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @staticmethod
    def listing(*addresses: str) -> bytes:
        return json.dumps({"prefixes": [{"cidr": address} for address in [*FILLER, *addresses]]}).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def feed(certificates: Certificates) -> Iterator[Feed]:
    made = Feed(certificates.server)
    yield made
    made.close()


def configuration(feed: Feed, upstream: RecordingUpstream, folder: Path, refresh: str = "1s") -> str:
    return (
        f'upstream = "{upstream.url}"\nstate_dir = "{folder}/state"\nadmin = "127.0.0.1:0"\n'
        '[route.hooks]\npath = "/hooks"\nallow = ["set:office"]\n'
        f'[ip_set.office]\nurl = "{feed.url}"\njson = "prefixes[].cidr"\nrefresh = "{refresh}"\n'
    )


def admitted(hookward: Hookward, source: str) -> bool:
    """Whether a delivery from that loopback address gets through; a reset at accept is no."""
    try:
        with Client(hookward.address, source=source) as client:
            return client.ask(request("POST", "/hooks", {}, BODY)).status == 200
    except ConnectionError:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < deadline


def metrics(hookward: Hookward) -> str:
    with Client(hookward.addresses[-1]) as client:
        return client.ask(request("GET", "/metrics", host="127.0.0.1"), method="GET").content.decode()


def test_a_feed_opens_the_door_and_closes_it(
    configured: Configured, upstream: RecordingUpstream, feed: Feed, certificates: Certificates, tmp_path: Path
) -> None:
    hookward = configured(
        configuration(feed, upstream, tmp_path), env={"SSL_CERT_FILE": str(certificates.ca)}, listeners=2
    )
    assert admitted(hookward, "127.0.0.1")
    assert not admitted(hookward, "127.0.0.2")
    stored = tmp_path / "state" / "ip-sets" / "office.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    feed.content = feed.listing("127.0.0.2")
    until(lambda: admitted(hookward, "127.0.0.2"))
    assert not admitted(hookward, "127.0.0.1")
    assert hookward.said("set:office: 1 (127.0.0.2) added, 1 (127.0.0.1) removed; it has 31 prefixes now")
    kept = stored.read_bytes()
    feed.content = feed.content[:-9]
    assert hookward.said("set:office could not be refreshed, the copy confirmed 0.0 days ago stays: it is not JSON")
    assert stored.read_bytes() == kept
    assert admitted(hookward, "127.0.0.2")
    assert not admitted(hookward, "127.0.0.1")
    text = metrics(hookward)
    assert 'hookward_address_set_prefixes{set="office"} 31' in text
    assert 'hookward_address_set_age_seconds{set="office"} ' in text
    assert 'hookward_address_set_refreshes_total{set="office",result="failed"} ' in text
    assert "hookward_policy_generation 2" in text
    assert hookward.stop() == 0
    again = configured(
        configuration(feed, upstream, tmp_path), env={"SSL_CERT_FILE": str(certificates.ca)}, listeners=2
    )
    assert admitted(again, "127.0.0.2")


def test_without_a_copy_and_without_a_feed_nobody_is_let_in(
    configured: Configured, upstream: RecordingUpstream, feed: Feed, tmp_path: Path
) -> None:
    # The certificate is not trusted here: what this feed says must not count.
    hookward = configured(configuration(feed, upstream, tmp_path), listeners=2)
    assert hookward.said("set:office could not be fetched and admits no address: its certificate cannot be trusted")
    assert hookward.said("warning: set:office: no copy of this list is here yet, so it admits no address")
    assert not admitted(hookward, "127.0.0.1")
    assert upstream.complete == []


def test_plain_http_is_for_loopback_feeds(configured: Configured, upstream: RecordingUpstream, tmp_path: Path) -> None:
    feed = Feed(None)
    try:
        hookward = configured(configuration(feed, upstream, tmp_path), listeners=2)
        assert admitted(hookward, "127.0.0.1")
        assert not admitted(hookward, "127.0.0.2")
    finally:
        feed.close()
