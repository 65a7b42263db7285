"""Ways past what a scheme signs: another reading of the same signed text, another purpose of the same token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from time import time
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Answer, once, request

KEY = b"k3y-of-the-schemes-0815"
ORIGIN = "https://hooks.example.com"
BODY = b'{"a":1}'
ROUTES = f"""
[scheme.acme]
header = "X-Acme-Signature"
signed = "{{id}}.{{header:X-Request-Id}}.{{body}}"
id = "X-Acme-Id"

[route.github]
path = "/github"
provider = "github"
events = ["push"]

[route.any-event]
path = "/any-event"
provider = "github"

[route.square]
path = "/square"
provider = "square"
public_url = "{ORIGIN}/square/in?tenant=1"

[route.square-origin]
path = "/origin"
provider = "square"
public_url = "{ORIGIN}"

[route.messagebird]
path = "/messagebird"
provider = "messagebird"
public_url = "{ORIGIN}/messagebird"

[route.mercado_pago]
path = "/mercado"
provider = "mercado_pago"

[route.klaviyo]
path = "/klaviyo"
provider = "klaviyo"

[route.airwallex]
path = "/airwallex"
provider = "airwallex"

[route.acme]
path = "/acme"
provider = "acme"

[route.netlify]
path = "/netlify"
provider = "netlify"

[route.monday]
path = "/monday"
provider = "monday"
public_url = "{ORIGIN}"

[route.braintree]
path = "/braintree"
provider = "braintree"

[route.plivo]
path = "/plivo"
provider = "plivo"
public_url = "{ORIGIN}"

[route.authorize]
path = "/authorize"
provider = "authorize_net"
"""
SECRETS = {"braintree": b"public:" + KEY, "authorize_net": KEY.hex().encode()}


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.fixture(scope="module")
def hookward(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hookward]:
    folder = tmp_path_factory.mktemp("schemes")
    text = f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\n'
    for line in ROUTES.splitlines():
        text += line + "\n"
        if line.startswith("provider = "):
            slug = line.split('"')[1]
            (folder / slug).write_bytes(SECRETS.get(slug, KEY))
            (folder / slug).chmod(0o600)
            text += f'secrets = ["file:{folder}/{slug}"]\n'
    (folder / "hookward.toml").write_text(text)
    one = Hookward("--config", str(folder / "hookward.toml"), secrets=[KEY])
    yield one
    assert one.stop() == 0


class Scene:
    """Deliveries to one hookward, and what its upstream gets of them."""

    def __init__(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        self._hookward = hookward
        self._upstream = upstream

    def ask(self, path: str, fields: Any, body: bytes = BODY) -> Answer:
        self._upstream.forget()
        return once(self._hookward.address, request("POST", path, fields, body))

    def passes(self, path: str, fields: Any, body: bytes = BODY) -> Any:
        assert self.ask(path, fields, body).word == "ok"
        return self._upstream.complete[-1]

    def refuses(self, word: str, path: str, fields: Any, body: bytes = BODY) -> None:
        answer = self.ask(path, fields, body)
        assert (answer.status, answer.word) == (403, word)
        assert self._upstream.seen == []


@pytest.fixture
def scene(hookward: Hookward, upstream: RecordingUpstream) -> Scene:
    return Scene(hookward, upstream)


def mac(text: bytes, algorithm: str = "sha256", key: bytes = KEY) -> bytes:
    return hmac.new(key, text, algorithm).digest()


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def token(claims: dict[str, object]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "HS256"}, claims)]
    signed = b".".join(parts)
    return (signed + b"." + base64.urlsafe_b64encode(mac(signed)).rstrip(b"=")).decode()


@pytest.mark.parametrize("path", ["/github", "/any-event"])
@pytest.mark.parametrize("events", [("push", "delete"), ("delete", "push"), ("push", "push")])
def test_an_event_of_two_fields_is_refused(scene: Scene, path: str, events: tuple[str, str]) -> None:
    signature = ("X-Hub-Signature-256", "sha256=" + mac(BODY).hex())
    scene.passes(path, [signature, ("X-GitHub-Event", "push")])
    scene.refuses("event_refused", path, [signature, *(("X-GitHub-Event", event) for event in events)])


@pytest.mark.parametrize(
    "path",
    ["/square/in?tenant=2", "/square/in", "/square/in?tenant=1&tenant=2", "/square/in/", "/square/in/x?tenant=1",
     "/square", "/square/in?Tenant=1", "/square/in?tenant=%31"],
)  # fmt: skip
def test_a_signed_url_opens_no_other_path_or_query(scene: Scene, path: str) -> None:
    fields = {"x-square-hmacsha256-signature": b64(mac(f"{ORIGIN}/square/in?tenant=1".encode() + BODY))}
    scene.passes("/square/in?tenant=1", fields)
    scene.refuses("signature_mismatch", path, fields)


def test_a_token_for_a_whole_url_opens_no_other_path(scene: Scene) -> None:
    url = f"{ORIGIN}/messagebird"
    claims = {"iss": "MessageBird", "nbf": int(time()), "exp": int(time()) + 60, "jti": "j1"}
    claims |= {"url_hash": hashlib.sha256(url.encode()).hexdigest(), "payload_hash": hashlib.sha256(BODY).hexdigest()}
    fields = {"MessageBird-Signature-JWT": token(claims)}
    scene.passes("/messagebird", fields)
    for path in ("/messagebird/other", "/messagebird?x=1"):
        scene.refuses("signature_mismatch", path, fields)


def test_nothing_moves_from_the_body_into_the_query(scene: Scene) -> None:
    """Nothing stands between the URL and the body that Square signs."""
    text = b'/origin?x=1{"a":{"b":1}}'
    fields = {"x-square-hmacsha256-signature": b64(mac(ORIGIN.encode() + text))}
    for at in range(len("/origin?"), len(text)):
        if text[at:] != b'{"a":{"b":1}}':
            scene.refuses("signature_malformed", text[:at].decode(), fields, text[at:])
    scene.passes("/origin?x=1", fields, b'{"a":{"b":1}}')


def mercado(manifest: str) -> dict[str, str]:
    stamp = str(int(time()))
    return {"x-signature": f"ts={stamp},v1={mac(f'{manifest}ts:{stamp};'.encode()).hex()}"}


@pytest.mark.parametrize(
    "query",
    ["data.id=1&data%2Eid=2", "data%2eid=2&data.id=1", "%64ata.id=2&data.id=1", "data.id=1&data_id=2",
     "data.id=1;data.id=2", "data%2Eid=1", "data.id=1&data[id=2", "data.id=1&+data.id=2", "x=1;data.id=2&data.id=1"],
)  # fmt: skip
def test_a_signed_parameter_has_one_name(scene: Scene, query: str) -> None:
    fields = mercado("id:1;request-id:r1;") | {"X-Request-Id": "r1"}
    scene.passes("/mercado?data.id=1&type=payment", fields)
    scene.refuses("signature_malformed", f"/mercado?{query}", fields)


def test_a_signed_request_id_arrives_as_it_came(scene: Scene) -> None:
    signed = {"X-Acme-Id": "i", "X-Request-Id": "theirs-1", "X-Acme-Signature": mac(b"i.theirs-1." + BODY).hex()}
    for path, fields in (
        ("/mercado?data.id=1", mercado("id:1;request-id:theirs-1;") | {"X-Request-Id": "theirs-1"}),
        ("/acme", signed),
        ("/acme", signed | {"Connection": "X-Request-Id", "Webhook-Request-Id": "forged"}),
    ):
        got = scene.passes(path, fields)
        names = [name.lower() for name, _ in got.fields]
        assert got.get(b"X-Request-Id") == b"theirs-1"
        assert got.get(b"Webhook-Request-Id") not in (None, b"theirs-1", b"forged")
        assert names.count(b"x-request-id") == names.count(b"webhook-request-id") == 1


def test_an_unsigned_request_id_stays_ours(scene: Scene) -> None:
    fields = {"X-Hub-Signature-256": "sha256=" + mac(BODY).hex(), "X-Request-Id": "theirs-1", "X-GitHub-Event": "push"}
    got = scene.passes("/github", fields | {"Webhook-Request-Id": "forged"})
    assert got.get(b"X-Request-Id") != b"theirs-1"
    assert got.get(b"Webhook-Request-Id") is None


def test_the_border_between_body_and_time_does_not_move(scene: Scene) -> None:
    """Nothing stands between the body and the time that Klaviyo and Airwallex sign."""
    for stamp in ("1764000000", "1764000000123", "2025-11-24T16:00:00+00:00", "Mon, 24 Nov 2025 16:00:00 GMT"):
        text = BODY + stamp.encode()
        signature = mac(text).hex()
        scene.passes("/klaviyo", {"Klaviyo-Signature": signature, "Klaviyo-Timestamp": stamp})
        for at in range(1, len(text)):
            body, rest = text[:at], text[at:].decode()
            if body != BODY and rest == rest.strip():
                answer = scene.ask("/klaviyo", {"Klaviyo-Signature": signature, "Klaviyo-Timestamp": rest}, body)
                assert answer.word == "signature_malformed", (body, rest)
    stamp = str(int(time() * 1000))
    text = stamp.encode() + BODY
    for at in range(1, len(text)):
        fields = {"x-signature": mac(text).hex(), "x-timestamp": text[:at].decode()}
        if text[at:] == BODY:
            scene.passes("/airwallex", fields)
        else:
            scene.refuses("signature_malformed", "/airwallex", fields, text[at:])


def test_a_token_of_another_purpose_is_refused(scene: Scene) -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    scene.passes("/netlify", {"X-Webhook-Signature": token({"iss": "netlify", "sha256": digest})})
    for claims in ({}, {"iss": "other"}, {"iss": ["netlify"]}):
        scene.refuses("signature_mismatch", "/netlify", {"X-Webhook-Signature": token({"sha256": digest, **claims})})
    times: dict[str, object] = {"exp": int(time()) + 60}
    scene.passes("/monday/a", {"Authorization": token(times | {"aud": f"{ORIGIN}/monday/a"})})
    for audience in (f"{ORIGIN}/monday/b", "https://other.example/monday/a", None, [f"{ORIGIN}/monday/a"]):
        scene.refuses("signature_mismatch", "/monday/a", {"Authorization": token(times | {"aud": audience})})
    scene.refuses("signature_mismatch", "/monday/a", {"Authorization": token(times)})


def braintree(names: list[str], payload: str = "PG5vdGlmaWNhdGlvbi8+\n") -> bytes:
    digest = mac(payload.encode(), "sha1", hashlib.sha1(KEY).digest()).hex()
    return urlencode({"bt_signature": "&".join(f"{name}|{digest}" for name in names), "bt_payload": payload}).encode()


def test_a_signature_of_braintree_names_our_key(scene: Scene) -> None:
    scene.passes("/braintree", {}, braintree(["public"]))
    scene.passes("/braintree", {}, braintree(["other", "public"]))
    for names in (["other"], ["Public"], [""], ["public "], ["publi", "c"]):
        scene.refuses("signature_mismatch", "/braintree", {}, braintree(names))


def test_a_list_of_plivo_may_hold_what_is_no_signature(scene: Scene) -> None:
    signature = b64(mac(f"{ORIGIN}/plivo?a1.n1".encode()))
    fields = {"X-Plivo-Signature-V3-Nonce": "n1"}
    for value in (
        signature,
        f"{signature},",
        f"junk,{signature}",
        f", {signature},{signature}",
        f"{signature},{'A' * 44}",
    ):
        scene.passes("/plivo", fields | {"X-Plivo-Signature-V3": value}, b"a=1")
    for value in (",", "junk", f" {signature}x", ",".join([signature] * 33)):
        scene.refuses("signature_malformed", "/plivo", fields | {"X-Plivo-Signature-V3": value}, b"a=1")


def test_authorize_net_writes_hex_in_either_case(scene: Scene) -> None:
    signature = mac(BODY, "sha512").hex()
    for text in (signature, signature.upper()):
        scene.passes("/authorize", {"X-ANET-Signature": f"sha512={text}"})
    scene.refuses("signature_mismatch", "/authorize", {"X-ANET-Signature": f"sha512={'0' * 128}"})
