"""Endpoint checks over real sockets, in both modes: the application is asked, or never hears of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from time import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.whole.process import Hookward
from tests.whole.recorder import Manner, Received, RecordingUpstream
from tests.whole.wire import Answer, once, request

KEY = b"k3y-of-the-handshakes"
WORD = b"verify-w0rd-77"
DISCORD = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PROVIDERS = ["slack", "zoom", "whatsapp", "dropbox", "microsoft_graph", "twitter", "discord", "twitch", "trello"]
APP = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nby app\n"


def configuration(upstream: str, folder: Any) -> str:
    text = f'listen = ["127.0.0.1:0"]\nupstream = "{upstream}"\n'
    for mode in ("forward", "answer"):
        for slug in PROVIDERS:
            secret = "discord.key" if slug == "discord" else "key"
            text += f'[route.{slug}-{mode}]\npath = "/{mode}/{slug}"\nprovider = "{slug}"\nhandshake = "{mode}"\n'
            text += f'secrets = ["file:{folder}/{secret}"]\n'
            if slug == "whatsapp":
                text += f'verify_token = "file:{folder}/word"\n'
            if slug == "trello":
                text += 'public_url = "https://hooks.example.com"\n'
    return text


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        one.manner = Manner(answer=APP)
        yield one


@pytest.fixture(scope="module")
def hookward(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hookward]:
    folder = tmp_path_factory.mktemp("handshakes")
    public = DISCORD.public_key().public_bytes_raw().hex().encode()
    for name, value in {"key": KEY, "word": WORD, "discord.key": public}.items():
        (folder / name).write_bytes(value)
        (folder / name).chmod(0o600)
    config = folder / "hookward.toml"
    config.write_text(configuration(upstream.url, folder))
    one = Hookward("--config", str(config), secrets=[KEY, WORD])
    yield one
    assert one.stop() == 0


def hexmac(text: bytes) -> str:
    return hmac.new(KEY, text, hashlib.sha256).hexdigest()


def signed(slug: str, path: str, body: bytes, *, forged: bool = False) -> bytes:
    """A POST as the provider signs it."""
    now = str(int(time()))
    seen = b"forged" if forged else body
    if slug == "slack":
        fields = {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": "v0=" + hexmac(f"v0:{now}:".encode() + seen)}
    elif slug == "zoom":
        fields = {"x-zm-request-timestamp": now, "x-zm-signature": "v0=" + hexmac(f"v0:{now}:".encode() + seen)}
    elif slug == "discord":
        signature = DISCORD.sign(now.encode() + seen).hex()
        fields = {"X-Signature-Timestamp": now, "X-Signature-Ed25519": signature}
    else:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {
            "Twitch-Eventsub-Message-Id": "m-1",
            "Twitch-Eventsub-Message-Timestamp": stamp,
            "Twitch-Eventsub-Message-Type": "webhook_callback_verification",
            "Twitch-Eventsub-Message-Signature": "sha256=" + hexmac(f"m-1{stamp}".encode() + seen),
        }
    return request("POST", path, {**fields, "Content-Type": "application/json"}, body)


SIGNED: dict[str, tuple[bytes, bytes, bytes]] = {
    "slack": (b'{"type":"url_verification","challenge":"3eZbrw1a"}', b"3eZbrw1a", b"text/plain"),
    "zoom": (
        b'{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZ"}}',
        json.dumps({"plainToken": "qgg8vlvZ", "encryptedToken": hexmac(b"qgg8vlvZ")}, separators=(",", ":")).encode(),
        b"application/json",
    ),
    "discord": (b'{"type":1}', b'{"type":1}', b"application/json"),
    "twitch": (b'{"challenge":"pogchamp-kappa","subscription":{}}', b"pogchamp-kappa", b"text/plain"),
}
CRC = base64.b64encode(hmac.digest(KEY, b"MTUwNDQ1", "sha256")).decode()
META = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
UNSIGNED: dict[str, tuple[str, str, bytes, bytes]] = {
    "whatsapp": ("GET", "?" + META + WORD.decode(), b"1158201444", b"text/plain"),
    "dropbox": ("GET", "?challenge=abc123", b"abc123", b"text/plain"),
    "microsoft_graph": (
        "POST",
        "?validationToken=Validation%3a+Testing+client+Request-Id%3a+a6d5f8b0",
        b"Validation: Testing client Request-Id: a6d5f8b0",
        b"text/plain",
    ),
    "twitter": (
        "GET",
        "?crc_token=MTUwNDQ1&nonce=x",
        b'{"response_token":"sha256=' + CRC.encode() + b'"}',
        b"application/json",
    ),
    "trello": ("HEAD", "", b"", b""),
}


def unsigned(slug: str, path: str) -> tuple[bytes, str]:
    method, query, _, _ = UNSIGNED[slug]
    return request(method, path + query, content=b"" if method == "POST" else None), method


def asked(upstream: RecordingUpstream, path: str) -> list[Received]:
    """What the application has got at that path."""
    return [one for one in upstream.seen if one.target.partition(b"?")[0] == path.encode()]


def check(hookward: Hookward, answer: Answer, route: str, content: bytes, kind: bytes) -> None:
    assert (answer.status, answer.content) == (200, content)
    assert answer.get(b"Content-Type") == (kind or None)
    assert answer.get(b"X-Content-Type-Options") == b"nosniff"
    assert answer.get(b"Content-Length") == str(len(content)).encode()
    assert answer.get(b"Date")
    [line] = hookward.logged({"http.route": route, "webhook.reason": "handshake_answered"})[-1:]
    assert line["webhook.verdict"] == "admitted"
    assert line["webhook.handshake"] == "answered"
    assert line["http.response.status_code"] == 200
    assert line["severity"] == "INFO"


@pytest.mark.parametrize("slug", SIGNED)
def test_a_signed_check_answered_here(hookward: Hookward, upstream: RecordingUpstream, slug: str) -> None:
    path = f"/answer/{slug}"
    body, content, kind = SIGNED[slug]
    answer = once(hookward.address, signed(slug, path, body))
    check(hookward, answer, f"{slug}-answer", content, kind)
    refused = once(hookward.address, signed(slug, path, body, forged=True))
    assert refused.status == (401 if slug == "discord" else 403)
    assert asked(upstream, path) == []


@pytest.mark.parametrize("slug", SIGNED)
def test_a_signed_check_answered_by_the_application(hookward: Hookward, upstream: RecordingUpstream, slug: str) -> None:
    path = f"/forward/{slug}"
    body, _, _ = SIGNED[slug]
    assert once(hookward.address, signed(slug, path, body)).content == b"by app\n"
    assert once(hookward.address, signed(slug, path, body, forged=True)).status in {401, 403}
    [got] = asked(upstream, path)
    assert got.content == body
    assert (got.get(b"Webhook-Verified") or b"").startswith(slug.encode())


@pytest.mark.parametrize("slug", UNSIGNED)
def test_an_unsigned_check_answered_here(hookward: Hookward, upstream: RecordingUpstream, slug: str) -> None:
    path = f"/answer/{slug}"
    data, method = unsigned(slug, path)
    _, _, content, kind = UNSIGNED[slug]
    check(hookward, once(hookward.address, data, method=method), f"{slug}-answer", content, kind)
    assert asked(upstream, path) == []


@pytest.mark.parametrize("slug", UNSIGNED)
def test_an_unsigned_check_answered_by_the_application(
    hookward: Hookward, upstream: RecordingUpstream, slug: str
) -> None:
    path = f"/forward/{slug}"
    data, method = unsigned(slug, path)
    answer = once(hookward.address, data, method=method)
    assert (answer.status, answer.content) == (200, b"" if method == "HEAD" else b"by app\n")
    [got] = asked(upstream, path)
    assert got.target.decode() == path + UNSIGNED[slug][1], "byte for byte"
    assert got.get(b"Webhook-Verified") is None
    [line] = hookward.logged({"http.route": f"{slug}-forward", "webhook.reason": "delivered"})
    assert line["webhook.handshake"] == "forwarded"


@pytest.mark.parametrize("mode", ["forward", "answer"])
@pytest.mark.parametrize(
    ("slug", "target", "status"),
    [
        ("whatsapp", "?" + META + "another", 403),
        ("whatsapp", "?hub.mode=subscribe&hub.challenge=1", 405),
        ("dropbox", "", 405),
        ("dropbox", "?challenge=%3Cscript%3E", 405),
        ("dropbox", "?challenge=" + "x" * 300, 405),
        ("dropbox", "?challenge=abc&admin=1", 405),
        ("twitter", "?crc_token=%7B%22a%22%3A1%7D", 405),
        ("slack", "?challenge=abc", 405),
    ],
)
def test_all_else_stays_outside(
    hookward: Hookward, upstream: RecordingUpstream, slug: str, target: str, status: int, mode: str
) -> None:
    before = len(upstream.seen)
    answer = once(hookward.address, request("GET", f"/{mode}/{slug}{target}"))
    assert answer.status == status
    assert b"script" not in answer.content
    assert len(upstream.seen) == before


def test_below_the_route_nothing_unproved_is_passed_on(hookward: Hookward, upstream: RecordingUpstream) -> None:
    assert once(hookward.address, request("GET", "/forward/dropbox/private?challenge=abc")).status == 405
    assert asked(upstream, "/forward/dropbox/private") == []
    post = request("POST", "/forward/microsoft_graph?validationToken=abc", content=b'{"value":[]}')
    assert once(hookward.address, post).status == 403
