"""Deliveries that a provider's key has signed and that are all the same not the route's, on real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from time import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.deliveries import b64, keys
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


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.fixture(scope="module")
def hookward(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hookward]:
    folder = tmp_path_factory.mktemp("providers")
    (folder / "certificate.pem").write_bytes(keys().rsa_certificate)
    (folder / "hookward.toml").write_text(CONFIG.format(upstream=upstream.url, folder=folder, topic=OURS))
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
    refuses(hookward, upstream, tree, "signature_malformed", topic_arn=THEIRS)
    refuses(hookward, upstream, tree, "signature_malformed", message_id="m-2")
