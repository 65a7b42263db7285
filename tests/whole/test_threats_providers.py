"""Deliveries that a provider's key has signed and that are all the same not the route's, on real sockets."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from time import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.deliveries import b64, hexa, keys
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Answer, once, request

OURS, THEIRS = "arn:aws:sns:eu-west-1:123456789012:orders", "arn:aws:sns:eu-west-1:210987654321:orders"
NAMES = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"

[route.sns]
path = "/sns"
provider = "sns"
secrets = ["file:{folder}/certificate.pem"]
topics = ["{topic}"]
"""
SHARED = """
[route.{slug}]
path = "/{slug}"
provider = "{slug}"
secrets = ["file:{folder}/{key}"]
"""
KEY, HEX_KEY = b"the key of an application", b"00ff" * 16
LOGIN = base64.urlsafe_b64encode(b'{"algorithm":"HMAC-SHA256","user_id":"218471"}').rstrip(b"=")
#: What a key signs for people beside deliveries: slug -> header, prefix, digest, writer, text
SHOWN: dict[str, tuple[str, str, str, Callable[[bytes], bytes], bytes]] = {
    "shopify": ("X-Shopify-Hmac-Sha256", "", "sha256", b64, b"code=c&host=h&shop=a.myshopify.com&timestamp=1764000000"),
    "shopify_events": ("Shopify-Hmac-Sha256", "", "sha256", b64, b"shop=a.myshopify.com&timestamp=1764000000"),
    "facebook_graph_api": ("X-Hub-Signature-256", "sha256=", "sha256", hexa, LOGIN),
    "facebook_messenger": ("X-Hub-Signature-256", "sha256=", "sha256", hexa, LOGIN),
    "instagram": ("X-Hub-Signature-256", "sha256=", "sha256", hexa, LOGIN),
    "whatsapp": ("X-Hub-Signature-256", "sha256=", "sha256", hexa, LOGIN),
    "pusher": ("X-Pusher-Signature", "", "sha256", hexa, b'1234.5678:presence-room:{"user_id":"7"}'),
    "castle": ("X-Castle-Signature", "", "sha256", b64, b"user-4711"),
    "authorize_net": ("X-ANET-Signature", "sha512=", "sha512", lambda mac: hexa(mac).upper(), b"^60115585081^10.00^"),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.fixture(scope="module")
def hookward(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hookward]:
    folder = tmp_path_factory.mktemp("providers")
    (folder / "certificate.pem").write_bytes(keys().rsa_certificate)
    for name, value in {"key": KEY, "hex.key": HEX_KEY}.items():
        (folder / name).write_bytes(value)
        (folder / name).chmod(0o600)
    text = CONFIG.format(upstream=upstream.url, folder=folder, topic=OURS)
    for slug in SHOWN:
        text += SHARED.format(slug=slug, folder=folder, key="hex.key" if slug == "authorize_net" else "key")
    (folder / "hookward.toml").write_text(text)
    one = Hookward("--config", str(folder / "hookward.toml"))
    yield one
    assert one.stop() == 0


def now(ago_s: float = 0) -> str:
    return datetime.fromtimestamp(time() - ago_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def text_of(tree: dict[str, str], names: tuple[str, ...] = NAMES) -> bytes:
    """What SNS signs of a message."""
    return "".join(f"{name}\n{tree[name]}\n" for name in names if name in tree).encode()


def signed(names: tuple[str, ...] = NAMES, **values: str) -> dict[str, str]:
    """A message as SNS makes it, for whichever topic; every customer of a region has the same key."""
    usual = {"Type": "Notification", "MessageId": "m-1", "TopicArn": OURS, "Subject": "S", "Message": "hello"}
    tree = usual | {"Timestamp": now(), "SignatureVersion": "2"} | values
    signature = keys().rsa.sign(text_of(tree, names), padding.PKCS1v15(), hashes.SHA256())
    return tree | {"Signature": b64(signature).decode()}


def send(hookward: Hookward, tree: dict[str, str], **fields: str) -> Answer:
    more = {f"x-amz-sns-{name.replace('_', '-')}": value for name, value in fields.items()}
    return once(hookward.address, request("POST", "/sns", more, json.dumps(tree).encode()))


def refuses(hookward: Hookward, upstream: RecordingUpstream, tree: dict[str, str], word: str, **fields: str) -> None:
    upstream.forget()
    answer = send(hookward, tree, **fields)
    assert (answer.status, answer.word) == (403, word)
    assert upstream.seen == []


def test_a_message_of_ones_own_topic_passes(hookward: Hookward, upstream: RecordingUpstream) -> None:
    tree = signed()
    upstream.forget()
    assert send(hookward, tree, message_type="Notification", message_id="m-1", topic_arn=OURS).status == 200
    [got] = upstream.seen
    assert got.content == json.dumps(tree).encode()
    assert (got.get(b"Webhook-Verified") or b"").startswith(b"sns; ")


def test_any_customers_topic_is_refused(hookward: Hookward, upstream: RecordingUpstream) -> None:
    refuses(hookward, upstream, signed(TopicArn=THEIRS), "signature_mismatch")
    refuses(hookward, upstream, signed(TopicArn=THEIRS), "signature_mismatch", topic_arn=OURS)
    confirmation = {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": "https://sns.example.com/"}
    refuses(hookward, upstream, signed(CONFIRMATION, TopicArn=THEIRS, **confirmation), "signature_mismatch")
    unsubscribe = confirmation | {"Type": "UnsubscribeConfirmation"}
    refuses(hookward, upstream, signed(CONFIRMATION, TopicArn=THEIRS, **unsubscribe), "signature_mismatch")
    assert send(hookward, signed(CONFIRMATION, **confirmation)).status == 200


@pytest.mark.parametrize("field", ["MessageId", "Subject", "Timestamp", "TopicArn", "Type"])
def test_signed_time_and_topic_cannot_be_moved_by_line_feeds(
    hookward: Hookward, upstream: RecordingUpstream, field: str
) -> None:
    """A stranger publishes the lines of a message of ours inside one of another topic, and takes it apart otherwise:
    what stands before the real lines of one field becomes part of that field.
    """
    ours = {"MessageId": "m-9", "Subject": "S", "Timestamp": now(), "TopicArn": OURS, "Type": "Notification"}
    inner = "pay\n" + text_of(ours).decode().removesuffix("\n")
    theirs = signed(Message=inner, TopicArn=THEIRS, Timestamp=now(7200))
    forged = {"Message": "pay"}
    for name in NAMES[1:]:
        at = NAMES.index(name), NAMES.index(field)
        forged[name] = ours[name] if at[0] < at[1] else theirs[name]
    between = {name: ours[name] for name in NAMES[NAMES.index(field) + 1 :]}
    before = {name: theirs[name] for name in NAMES[1 : NAMES.index(field)]}
    middle = "".join(f"{name}\n{value}\n" for name, value in [*between.items(), *before.items()])
    forged[field] = f"{ours[field]}\n{middle}{field}\n{theirs[field]}"
    assert text_of(forged) == text_of(theirs), "the signature is right for it"
    refuses(
        hookward,
        upstream,
        forged | {"SignatureVersion": "2", "Signature": theirs["Signature"]},
        {"Timestamp": "signature_malformed", "TopicArn": "signature_mismatch", "Type": "signature_malformed"}.get(
            field, "timestamp_too_old"
        ),
    )


def test_the_head_says_nothing_else_than_the_message(hookward: Hookward, upstream: RecordingUpstream) -> None:
    """Applications choose by the header, and a Notification's SubscribeURL is not signed."""
    tree = signed() | {"SubscribeURL": "http://169.254.169.254/"}
    refuses(hookward, upstream, tree, "signature_malformed", message_type="SubscriptionConfirmation")
    refuses(hookward, upstream, tree, "signature_mismatch")
    refuses(hookward, upstream, tree, "signature_malformed", topic_arn=THEIRS)
    refuses(hookward, upstream, tree, "signature_malformed", message_id="m-2")


@pytest.mark.parametrize("slug", SHOWN)
def test_what_the_key_signs_for_people_is_no_delivery(
    hookward: Hookward, upstream: RecordingUpstream, slug: str
) -> None:
    """The MAC over the text is in an address, a cookie or a page of whoever uses the application."""
    header, prefix, algorithm, write, shown = SHOWN[slug]
    key = bytes.fromhex(HEX_KEY.decode()) if slug == "authorize_net" else KEY

    def ask(body: bytes) -> Answer:
        value = prefix + write(hmac.digest(key, body, algorithm)).decode()
        return once(hookward.address, request("POST", f"/{slug}", {header: value}, body))

    upstream.forget()
    for text in (shown, shown + b"{}", b"", b"7", b'"a"', b"\xef\xbb\xbf{}"):
        answer = ask(text)
        assert (answer.status, answer.word) == (403, "signature_malformed")
    assert upstream.seen == []
    for body in (b'{"id":1}', b' \r\n{"id":1}\n'):
        assert ask(body).status == 200
    assert ask(b"<order/>").status == (200 if slug.startswith("shopify") else 403)
