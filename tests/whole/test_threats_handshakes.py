"""The endpoint check as a signing oracle, on real sockets: what an answer signs never passes as a delivery.

A stranger asks, takes the MAC out of the answer, ours or the application's, and sends it with the text that it signs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import Manner, RecordingUpstream
from tests.whole.wire import Answer, once, request

KEY = b"consumer-s3cret-of-the-app"
UUID = "890e4665-4dfe-4ab1-b689-ed553bceeed0"
BODY = b'{"for_user_id":"2244994945"}'
#: slug -> parameter, header of the signature, its prefix, what is signed before the body
SCHEMES = {
    "twitter": ("crc_token", "x-twitter-webhooks-signature", "sha256=", b""),
    "linkedin": ("challengeCode", "X-LI-Signature", "", b"hmacsha256="),
}
MODES = ["forward", "answer"]
CONFIG = """
[route.{slug}-{mode}]
path = "/{mode}/{slug}"
provider = "{slug}"
handshake = "{mode}"
secrets = ["file:{folder}/key"]
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.fixture(scope="module")
def hookward(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hookward]:
    folder = tmp_path_factory.mktemp("oracles")
    (folder / "key").write_bytes(KEY)
    (folder / "key").chmod(0o600)
    text = f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\n'
    text += "".join(CONFIG.format(slug=slug, mode=mode, folder=folder) for slug in SCHEMES for mode in MODES)
    (folder / "hookward.toml").write_text(text)
    one = Hookward("--config", str(folder / "hookward.toml"), secrets=[KEY])
    yield one
    assert one.stop() == 0


def mac(text: bytes) -> bytes:
    return hmac.digest(KEY, text, hashlib.sha256)


def written(slug: str, value: bytes) -> str:
    """A MAC as the scheme writes it."""
    return base64.b64encode(value).decode() if slug == "twitter" else value.hex()


def by_the_application(slug: str, challenge: bytes) -> bytes:
    """The answer that the provider's documents ask of the application."""
    content = json.dumps({"response": SCHEMES[slug][2] + written(slug, mac(challenge))}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


def ask(hookward: Hookward, upstream: RecordingUpstream, slug: str, mode: str, challenge: bytes) -> Answer:
    """A stranger's check."""
    upstream.forget()
    upstream.manner = Manner(answer=by_the_application(slug, challenge))
    target = f"/{mode}/{slug}?{SCHEMES[slug][0]}={quote(challenge, safe='')}"
    answer = once(hookward.address, request("GET", target), method="GET")
    upstream.manner = Manner()
    return answer


def send(hookward: Hookward, slug: str, mode: str, signature: str, body: bytes, chunk_size: int = 0) -> Answer:
    """A delivery with that signature."""
    _, header, prefix, _ = SCHEMES[slug]
    fields = {header: prefix + signature}
    return once(hookward.address, request("POST", f"/{mode}/{slug}", fields, body, chunk_size=chunk_size))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("slug", "challenge", "body"),
    [
        pytest.param("twitter", b"delete_all=", b"delete_all=", id="form"),
        pytest.param("twitter", b"delete", b"delete", id="word"),
        pytest.param("twitter", b"aGVsbG8gd29ybGQ=", b"aGVsbG8gd29ybGQ=", id="base64"),
        pytest.param("twitter", b"NaN", b"NaN", id="nan"),
        pytest.param("twitter", b"Infinity", b"Infinity", id="infinity"),
        pytest.param("twitter", b"{}", b"{}", id="object"),
        pytest.param("twitter", b'{"a":1}', b'{"a":1}', id="delivery"),
        pytest.param("twitter", b" {}", b" {}", id="object_behind_a_blank"),
        pytest.param("twitter", b"[]", b"[]", id="list"),
        pytest.param("linkedin", b"hmacsha256=", b"", id="linkedin_empty"),
        pytest.param("linkedin", b"hmacsha256=a", b"a", id="linkedin_word"),
        pytest.param("linkedin", b"hmacsha256={}", b"{}", id="linkedin_object"),
        pytest.param("linkedin", UUID.encode(), UUID.encode(), id="linkedin_uuid"),
    ],
)
def test_an_answered_check_signs_no_delivery(
    hookward: Hookward, upstream: RecordingUpstream, slug: str, challenge: bytes, body: bytes, mode: str
) -> None:
    answer = ask(hookward, upstream, slug, mode, challenge)
    assert (answer.status == 200) or not upstream.seen, "a check that is refused is not passed on"
    upstream.forget()
    heard = re.findall(rb"[0-9a-f]{64}|[A-Za-z0-9+/]{43}=", answer.content)
    # Whatever was heard, and the MAC that a stranger hopes to hear: the body alone is enough to refuse it.
    for signature in {*(text.decode() for text in heard), written(slug, mac(challenge))}:
        for size in (0, 1):
            refused = send(hookward, slug, mode, signature, body, size if body else 0)
            genuine = challenge == SCHEMES[slug][3] + body and body.lstrip(b" ").startswith(b"{")
            if genuine and signature not in {text.decode() for text in heard}:
                continue  # that is a delivery of the provider's, and no stranger has its signature
            assert (refused.status, refused.word) in {(403, "signature_malformed"), (403, "signature_mismatch")}
    assert all(one.content.lstrip(b" ").startswith(b"{") for one in upstream.seen)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("slug", SCHEMES)
def test_a_challenge_with_the_shape_of_a_delivery_is_asked_of_nobody(
    hookward: Hookward, upstream: RecordingUpstream, slug: str, mode: str
) -> None:
    for challenge in (b"{}", b'{"a":1}', b" {", b"a{", b"hmacsha256=", b"hmacsha256={}", b"NaN", b"a" * 200):
        if slug == "twitter" and challenge == b"hmacsha256=":
            continue
        answer = ask(hookward, upstream, slug, mode, challenge)
        assert (answer.status, answer.word) == (405, "method_not_allowed")
        assert upstream.seen == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "target",
    [
        "?crc_token=foo;crc_token=%7B%7D",
        "?crc_token=foo&nonce=x;crc_token=%7B%7D",
        "?crc_token=foo&crc_token=%7B%7D",
        "?crc_token=foo&crc_token%5B%5D=%7B%7D",
        "?crc_token=foo&CRC_TOKEN=%7B%7D",
        "?crc_token=%257B%257D",
    ],
)
def test_no_reading_of_the_query_has_another_challenge(
    hookward: Hookward, upstream: RecordingUpstream, target: str, mode: str
) -> None:
    upstream.forget()
    answer = once(hookward.address, request("GET", f"/{mode}/twitter{target}"), method="GET")
    assert answer.status in {400, 405}
    assert upstream.seen == []


@pytest.mark.parametrize("mode", MODES)
def test_no_cookie_has_another_challenge(hookward: Hookward, upstream: RecordingUpstream, mode: str) -> None:
    upstream.forget()
    check = request("GET", f"/{mode}/twitter?crc_token=foo", {"Cookie": "crc_token={}"})
    assert once(hookward.address, check, method="GET").status == 405
    assert upstream.seen == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("slug", SCHEMES)
def test_genuine_checks_and_deliveries_pass(
    hookward: Hookward, upstream: RecordingUpstream, slug: str, mode: str
) -> None:
    challenge = UUID.encode()
    answer = ask(hookward, upstream, slug, mode, challenge)
    assert answer.status == 200
    assert written(slug, mac(challenge)).encode() in answer.content
    assert len(upstream.seen) == (1 if mode == "forward" else 0)
    upstream.forget()
    for size in (0, 1, 7):
        assert send(hookward, slug, mode, written(slug, mac(SCHEMES[slug][3] + BODY)), BODY, size).status == 200
    assert [one.content for one in upstream.seen] == [BODY] * 3
