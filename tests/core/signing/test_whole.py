"""Bodies in one piece: what stands in them, and that every signed element counts."""

from __future__ import annotations

import hmac
import itertools
import json
import re
from dataclasses import replace
from hashlib import sha1, sha256
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from proxy.core.schemes import PROVIDERS
from proxy.core.signing.mac import WholeVerification
from proxy.core.signing.scheme import Timestamp
from proxy.reasons import Reason
from tests.deliveries import HEX_SECRET, NOW, RAW, URL, Delivery, b64, check_for, keys, mac, make, run

MALFORMED, MISSING = Reason.SIGNATURE_MALFORMED, Reason.SIGNATURE_MISSING
MISMATCH = Reason.SIGNATURE_MISMATCH


def changed(slug, **values):
    """The delivery with keys of its JSON body changed; None takes one out."""
    delivery = make(slug)
    tree = json.loads(delivery.body) | values
    return replace(delivery, body=json.dumps({key: value for key, value in tree.items() if value is not None}).encode())


def verdict(slug, delivery, now=NOW):
    return run(check_for(PROVIDERS[slug], delivery.secret), delivery, now)


def test_chunks_are_kept_even_if_their_buffer_is_used_again():
    seen = []
    verification = WholeVerification(lambda body: seen.append(body) or "a", [])
    buffer = bytearray(b"one")
    verification.update(memoryview(buffer))
    buffer[:] = b"two"
    verification.update(bytes(buffer))
    assert verification.finish() == "a"
    assert seen == [b"onetwo"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Message": "other"}, MISMATCH),
        ({"Subject": None}, MISMATCH),
        ({"Signature": None}, MISSING),
        ({"Signature": "!"}, MALFORMED),
        ({"Signature": ["x"]}, MISSING),
        ({"Timestamp": None}, Reason.TIMESTAMP_MISSING),
        ({"Timestamp": "now"}, MALFORMED),
        ({"SignatureVersion": "3"}, MALFORMED),
        ({"SignatureVersion": "\ud800"}, MALFORMED),
        ({"SignatureVersion": "1"}, MISMATCH),
        ({"Type": "Other"}, MALFORMED),
        ({"Type": "SubscriptionConfirmation"}, MALFORMED),
        ({"MessageId": None}, MALFORMED),
        ({"TopicArn": None}, MISMATCH),
        ({"TopicArn": "arn:aws:sns:us-east-1:1:T"}, MISMATCH),
        ({"TopicArn": ["arn:aws:sns:us-east-1:1:t"]}, MISMATCH),
        ({"MessageId": "m-1\nSubject"}, MALFORMED),
        ({"Subject": "S\n"}, MALFORMED),
        ({"Timestamp": "2025-11-24T16:00:00.000Z\n"}, MALFORMED),
        ({"Type": "Notification\n"}, MALFORMED),
    ],
)
def test_sns(values, reason):
    assert verdict("sns", changed("sns", **values)) is reason


def test_sns_is_fresh_for_an_hour():
    assert verdict("sns", make("sns"), NOW + 3600) == "0"
    assert verdict("sns", make("sns"), NOW + 3601) is Reason.TIMESTAMP_TOO_OLD


FIELDS = ("Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "TopicArn", "Type")
OPTIONAL = ("Subject", "SubscribeURL")


def sns(version="2", **values):
    """A message that the key of SNS has signed, with these fields."""
    tree = json.loads(make("sns").body) | values
    lines = "".join(f"{name}\n{tree[name]}\n" for name in FIELDS if name in tree).encode()
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()
    tree |= {"SignatureVersion": version}
    tree["Signature"] = b64(keys().rsa.sign(lines, padding.PKCS1v15(), digest)).decode()
    return replace(make("sns"), body=json.dumps(tree).encode())


@pytest.mark.parametrize("version", ["1", "2"])
def test_another_topic_of_sns_is_somebody_elses(version):
    assert verdict("sns", sns(version)) == "0"
    foreign = sns(version, TopicArn="arn:aws:sns:us-east-1:2:mine")
    assert verdict("sns", foreign) is MISMATCH, "although the signature is right"
    check = check_for(PROVIDERS["sns"], foreign.secret)
    assert run(replace(check, topics=("arn:aws:sns:us-east-1:2:mine",)), foreign) == "0"
    assert run(replace(check, topics=("arn:aws:sns:us-east-1:1:t", "arn:aws:sns:us-east-1:2:mine")), foreign) == "0"


def test_the_text_that_sns_signs_reads_one_way_only():
    """A stranger's message may hold the lines of another message: none of the bodies that write its text so passes."""
    ours = "arn:aws:sns:us-east-1:1:t"
    stamp = json.loads(make("sns").body)["Timestamp"]
    inner = f"x\nMessageId\nm-9\nSubject\nPay\nSubscribeURL\nhttps://a\nTimestamp\n{stamp}\nTopicArn\n{ours}\nType\nNotification"
    theirs = json.loads(sns(Message=inner, TopicArn="arn:aws:sns:us-east-1:2:theirs").body)
    written = {name: theirs[name] for name in FIELDS if name in theirs}
    lines = "".join(f"{name}\n{value}\n" for name, value in written.items())
    tried = 0
    # Each way to put the names on the lines of the text, which all write the same text when they are signed.
    places = {name: [at.start() for at in re.finditer(rf"(?:^|(?<=\n)){name}\n", lines)] for name in FIELDS}
    for left_out in ((), *itertools.combinations(OPTIONAL, 1), OPTIONAL):
        names = [name for name in FIELDS if name not in left_out]
        for starts in itertools.product(*(places[name] for name in names)):
            if list(starts) != sorted(set(starts)) or starts[0] != 0:
                continue
            ends = [*starts[1:], len(lines)]
            cut = {name: lines[a + len(name) + 1 : b - 1] for name, a, b in zip(names, starts, ends, strict=True)}
            body = json.dumps(cut | {"SignatureVersion": "2", "Signature": theirs["Signature"]}).encode()
            check = check_for(PROVIDERS["sns"], make("sns").secret)
            wide = replace(check, topics=(ours, cut["TopicArn"]))
            genuine = cut == written
            assert (run(wide, Delivery([], body)) == "0") is genuine, cut
            assert run(check, Delivery([], body)) in {MISMATCH, MALFORMED, Reason.TIMESTAMP_MISSING}
            tried += 1
    assert tried > 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("x-amz-sns-message-type", b"SubscriptionConfirmation"),
        ("x-amz-sns-message-id", b"m-2"),
        ("x-amz-sns-topic-arn", b"arn:aws:sns:us-east-1:2:theirs"),
    ],
)
def test_what_the_head_repeats_of_a_message_is_the_same_there(field, value):
    tree = json.loads(make("sns").body)
    right = tree[{"type": "Type", "id": "MessageId", "arn": "TopicArn"}[field.rpartition("-")[2]]].encode()
    assert verdict("sns", replace(make("sns"), fields=[(field, right)])) == "0"
    assert verdict("sns", replace(make("sns"), fields=[(field, value)])) is MALFORMED
    assert verdict("sns", replace(make("sns"), fields=[(field, right), (field, right)])) is MALFORMED
    assert field.encode() in PROVIDERS["sns"].scheme.header_names, "so Connection cannot strip it"


def test_every_item_of_adyen_carries_its_signature():
    delivery = make("adyen_payments")
    item = json.loads(delivery.body)["notificationItems"][0]
    second = json.loads(json.dumps(item))
    second["NotificationRequestItem"]["amount"]["value"] = 1

    def items(*found):
        return replace(delivery, body=json.dumps({"notificationItems": list(found)}).encode())

    assert verdict("adyen_payments", items(item, item)) == "0"
    assert verdict("adyen_payments", items(item, second)) is MISMATCH
    assert verdict("adyen_payments", items(second, item)) is MISMATCH
    assert verdict("adyen_payments", items(item, {})) is MALFORMED
    assert verdict("adyen_payments", items()) is MALFORMED
    assert delivery.secret == HEX_SECRET


def test_every_notification_of_graph_repeats_the_word():
    tree = {"value": [{"clientState": RAW.decode()}, {"clientState": "other"}]}
    assert verdict("microsoft_graph", Delivery([], json.dumps(tree).encode())) is MISMATCH
    tree["value"][1] = {"id": "x"}
    assert verdict("microsoft_graph", Delivery([], json.dumps(tree).encode())) is MISSING


def test_the_time_of_a_parsed_body_may_stand_in_the_head():
    scheme = replace(PROVIDERS["twilio"].scheme, timestamp=Timestamp(b"x-time"))
    check = check_for(replace(PROVIDERS["twilio"], scheme=scheme), RAW)
    delivery = make("twilio")
    delivery.fields.append(("X-Time", str(NOW).encode()))
    assert run(check, delivery, NOW + 300) == "0"
    assert run(check, delivery, NOW + 301) is Reason.TIMESTAMP_TOO_OLD


def test_mailgun_takes_the_time_from_the_body():
    delivery = make("mailgun")
    assert verdict("mailgun", delivery, NOW + 301) is Reason.TIMESTAMP_TOO_OLD
    assert verdict("mailgun", changed("mailgun", signature={"token": "a", "signature": "00" * 32})) is (
        Reason.TIMESTAMP_MISSING
    )


def test_twilio_signs_a_repeated_value_once():
    body = urlencode([("a", "2"), ("b", "x"), ("a", "1"), ("a", "2")]).encode()
    fields = [("X-Twilio-Signature", b64(mac(RAW, URL.encode() + b"a1a2bx", "sha1")))]
    assert verdict("twilio", Delivery(fields, body)) == "0"


def test_twilio_json_is_covered_by_the_url():
    body = b'{"a":1}'
    query = b"bodySHA256=" + sha256(body).hexdigest().encode()
    url = b"https://hooks.example.com/in?" + query
    delivery = Delivery([("X-Twilio-Signature", b64(mac(RAW, url, "sha1")))], body, target=b"/in?" + query)
    assert verdict("twilio", delivery) == "0"
    assert verdict("twilio", replace(delivery, body=b'{"a":2}')) is MISMATCH
    assert verdict("twilio", replace(delivery, target=b"/in?x=1&" + query)) is MISMATCH
    assert verdict("twilio", replace(delivery, target=b"/in?" + query + b"&" + query)) is MALFORMED


def test_braintree_needs_both_fields_once():
    delivery = make("braintree")
    assert verdict("braintree", replace(delivery, body=b"bt_payload=x")) is MISSING
    assert verdict("braintree", replace(delivery, body=delivery.body + b"&bt_payload=x")) is MALFORMED
    assert verdict("braintree", replace(delivery, body=delivery.body + b"&bt_signature=x")) is MISSING


def test_a_form_of_too_many_fields_is_refused():
    body = b"&".join(b"a%d=" % number for number in range(10_001))
    fields = [("X-Twilio-Signature", b64(mac(RAW, URL.encode(), "sha1")))]
    assert verdict("twilio", Delivery(fields, body)) is MALFORMED


def test_the_url_that_covers_a_body_may_name_its_port():
    body = b'{"a":1}'
    query = b"bodySHA256=" + sha256(body).hexdigest().encode()
    url = b"https://hooks.example.com:443/in?" + query
    delivery = Delivery([("X-Twilio-Signature", b64(mac(RAW, url, "sha1")))], body, target=b"/in?" + query)
    assert verdict("twilio", delivery) == "0"


@pytest.mark.parametrize(("either_port", "expected"), [(True, "0"), (False, MISMATCH)])
def test_another_port_is_another_url_unless_the_provider_is_known_to_mix_them(either_port, expected):
    scheme = PROVIDERS["twilio"].scheme
    provider = replace(
        PROVIDERS["twilio"], scheme=replace(scheme, document=replace(scheme.document, either_port=either_port))
    )
    digest = b"?bodySHA256=" + sha256(b'{"a":1}').hexdigest().encode()
    for body, target, signed in ((b"a=1", b"/in", b"a1"), (b'{"a":1}', b"/in" + digest, b"")):
        for port, verdict in ((b"", "0"), (b":443", expected), (b":80", MISMATCH)):
            url = b"https://hooks.example.com" + port + target
            fields = [("X-Twilio-Signature", b64(mac(RAW, url + signed, "sha1")))]
            assert run(check_for(provider, RAW), Delivery(fields, body, target=target)) == verdict


@pytest.mark.parametrize("target", [b"/in?", b"/in??", b"/in?a=b?c", b"/in:80/?a=http://b:443/"])
@pytest.mark.parametrize("port", [b"", b":443"])
def test_the_url_is_signed_as_it_is_written(target, port):
    url = b"https://hooks.example.com" + port + target
    fields = [("X-Twilio-Signature", b64(mac(RAW, url + b"a1", "sha1")))]
    assert verdict("twilio", Delivery(fields, b"a=1", target=target)) == "0"


def test_the_secrets_of_parsed_bodies_have_their_dates():
    body = b'{"a":1}'
    query = b"bodySHA256=" + sha256(body).hexdigest().encode()
    url = b"https://hooks.example.com/in?" + query
    signed_url = Delivery([("X-Twilio-Signature", b64(mac(RAW, url, "sha1")))], body, target=b"/in?" + query)
    for slug, delivery in (("twilio", signed_url), ("twilio", make("twilio")), ("braintree", make("braintree"))):
        check = check_for(PROVIDERS[slug], delivery.secret)
        dated = tuple(replace(secret, not_after=NOW) for secret in check.secrets)
        assert run(replace(check, secrets=dated), delivery, NOW - 1) == "0"
        assert run(replace(check, secrets=dated), delivery, NOW) is MISMATCH


@pytest.mark.parametrize("payload", ["0123456789abcdef0123", "a" * 32, "a" * 32 + "\n", "PG4+!", "PG4+ ", "PG4+%00"])
def test_the_answer_to_a_challenge_of_braintree_signs_no_delivery(payload):
    """The application proves that it has the key by signing what anybody sends it: 20 to 32 hex digits."""
    digest = hmac.new(sha1(RAW).digest(), payload.encode(), "sha1").hexdigest()
    body = urlencode({"bt_signature": f"public|{digest}", "bt_payload": payload}).encode()
    assert verdict("braintree", replace(make("braintree"), body=body)) is MALFORMED


def test_braintree_may_sign_a_newline():
    key, payload = sha1(RAW).digest(), b"eA=="
    signed = {payload: "0", payload + b"\n": "0", payload + b"\r\n": MISMATCH, b"\n" + payload: MISMATCH}
    for text, expected in signed.items():
        signature = b"pub|" + mac(key, text, "sha1").hex().encode()
        body = urlencode({"bt_signature": signature, "bt_payload": payload}).encode()
        assert verdict("braintree", replace(make("braintree"), body=body)) == expected


@pytest.mark.parametrize("slug", ["mailgun", "sns", "braintree"])
def test_a_body_without_a_signature_is_not_parsed(slug, monkeypatch):
    for reader in ("read_json", "read_form"):
        monkeypatch.setattr(f"proxy.core.signing.parsed.{reader}", None)
    assert verdict(slug, replace(make(slug), body=b'{"a":[{},{},{}]}')) is MISSING


def plivo(target: bytes, body: bytes = b"", nonce: bytes = b"n1", text: str = "", method: bytes = b"POST"):
    """A delivery of Plivo whose signature is over ``text``."""
    fields = [("X-Plivo-Signature-V3", b64(mac(RAW, f"https://hooks.example.com{text}".encode())))]
    return Delivery([*fields, ("X-Plivo-Signature-V3-Nonce", nonce)], body, target=target, method=method)


def test_nothing_moves_between_query_form_and_nonce_of_plivo():
    text = "/in?a=1&b=2.From1.5.n1"
    assert verdict("plivo", plivo(b"/in?a=1&b=2", b"From=1.5", text=text)) == "0"
    for moved in (
        plivo(b"/in?a=1%26b=2", b"From=1.5", text=text),
        plivo(b"/in?a=1%26b%3D2", b"From=1.5", text=text),
        plivo(b"/in?a%3D1%26b=2", b"From=1.5", text=text),
        plivo(b"/in?a=1&b=2.From1.5", text=text),
        plivo(b"/in?a=1&b=2.From1", b"5", text=text),
        plivo(b"/in?a=1&b=2", b"From=1", b"5.n1", text=text),
        plivo(b"/in?a=1&b=2.From1.5", b"x=", text=text, method=b"GET"),
    ):
        assert verdict("plivo", moved) in (MALFORMED, MISMATCH)
    asked = plivo(b"/in?from=sip:a@b.example", text="/in?from=sip:a@b.example.n1", method=b"GET")
    assert verdict("plivo", asked) == "0"
    assert verdict("plivo", replace(asked, method=b"POST")) is MALFORMED


def test_a_whole_url_needs_no_border():
    fields = [("X-Plivo-Signature-V3", b64(mac(RAW, b"https://h.example/in?a=x.y&b=2.?=1.n1")))]
    delivery = Delivery([*fields, ("X-Plivo-Signature-V3-Nonce", b"n1")], b"%3F%3D=1", target=b"/in?b=2&a=x.y")
    check = replace(check_for(PROVIDERS["plivo"], RAW), public_url="https://h.example/in?b=2&a=x.y")
    assert run(check, delivery) == "0"
    assert run(check, replace(delivery, target=b"/in?a=x.y&b=2")) is MISMATCH


def test_twilio_signs_no_query_as_a_field():
    signed = [
        ("X-Twilio-Signature", b64(mac(RAW, b"https://hooks.example.com/in?tenant=1AccountSidACBodyhello", "sha1")))
    ]
    body = b"AccountSid=AC&Body=hello"
    assert verdict("twilio", Delivery(signed, body, target=b"/in?tenant=1")) == "0"
    for target, moved in (
        (b"/in", b"%3Ftenant%3D1AccountSid=AC&Body=hello"),
        (b"/in?", b"tenant%3D1AccountSid=AC&Body=hello"),
        (b"/in?tenant=1AccountSidACBodyhello", b""),
    ):
        assert verdict("twilio", Delivery(signed, moved, target=target)) is MALFORMED


def test_a_form_of_twilio_is_no_url_with_a_digest():
    """Whoever writes the message chooses a part of what is signed."""
    body = b'{"a":1}'
    digest = sha256(body).hexdigest().encode()
    text = b"/in?tenant=1AccountSidACBody&bodySHA256=" + digest + b"&x=From1"
    fields = [("X-Twilio-Signature", b64(mac(RAW, b"https://hooks.example.com" + text, "sha1")))]
    assert verdict("twilio", Delivery(fields, body, target=text)) is MALFORMED


@pytest.mark.parametrize("name", ["pspReference", "merchantAccountCode", "eventCode", "amount.currency"])
def test_nothing_moves_between_the_fields_of_adyen(name):
    """Any of them with a colon could be two of the others; the shop's own reference is the one that may have some."""
    values = {"pspReference": "psp", "merchantAccountCode": "Acc", "merchantReference": "ref:1130:EUR",
              "amount.value": "1", "amount.currency": "EUR", "eventCode": "AUTH", "success": "true"}  # fmt: skip

    def signed(values):
        order = ("pspReference", "", "merchantAccountCode", "merchantReference", "amount.value", "amount.currency",
                 "eventCode", "success")  # fmt: skip
        text = ":".join(values.get(one, "") for one in order).encode()
        item = {key: value for key, value in values.items() if "." not in key}
        item["amount"] = {key: values[f"amount.{key}"] for key in ("value", "currency")}
        item["additionalData"] = {"hmacSignature": b64(mac(bytes.fromhex(HEX_SECRET.decode()), text)).decode()}
        return Delivery([], json.dumps({"notificationItems": [{"NotificationRequestItem": item}]}).encode(), HEX_SECRET)

    assert verdict("adyen_payments", signed(values)) == "0"
    assert verdict("adyen_payments", signed(values | {name: "a:b"})) is MALFORMED
