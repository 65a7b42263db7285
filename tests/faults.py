"""Faults that people make when they set up a webhook, each seeded on purpose, and the word that must be said of it.

A fault is a delivery and a route that refuses it: ``refused`` asks the guard itself why, so no fault is staged that the
guard would let pass. The mistakes are made by code of this file, not by the product's.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote_plus

from proxy.core.causes import HYPOTHESES
from proxy.core.causes.trial import Case
from proxy.core.policy import Route
from proxy.core.schemes import decode_secret, find
from proxy.core.signing.proof import Scheme, SignatureCheck, TokenCheck, TokenKind
from proxy.core.signing.scheme import Encoding, Secret, Timestamp
from proxy.core.signing.signer import sign
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from tests import policies
from tests.deliveries import NOW, Delivery, head_of, make
from tests.policies import LIMITS

#: The causes, by their words.
CAUSES = {one.word: one for one in HYPOTHESES}

KEY = b"correct horse battery staple"
TOKEN = b"t0ken-for-the-tests-of-causes"
TEXT = base64.b64encode(bytes(range(32)))  # of a secret that is decoded
URL = "https://hooks.example.com/in/here?x=1&a=b%20c"
TARGET = b"/in/here?x=1&a=b%20c"
JSON = (
    b'{\n  "ref": "refs/heads/main",\n  "text": "za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87 a/b",\n  "n": [1, 2.50, null]\n}\n'
)
COMPACT = b'{"ref":"refs/heads/main"}'
#: Nothing of these may be in anything that is said.
CONFIDENTIAL = (KEY, TOKEN, TEXT, b"sk_live_4711", b"another secret", b"user:pass word")


def route(
    provider: str = "github",
    *secrets: Secret | bytes,
    scheme: Scheme | None = None,
    token: TokenCheck | None = None,
    public_url: str = "https://hooks.example.com",
    name: str = "hooks",
    topics: tuple[str, ...] = (),
) -> Route:
    """A route with these secrets, named "main", "main-2", …; with ``token``, one without a signature."""
    known = find(provider)
    chosen = scheme or (known.scheme if known is not None else None)
    made = [
        one if isinstance(one, Secret) else Secret(f"main-{at}" if at else "main", one)
        for at, one in enumerate(secrets or (KEY,))
    ]
    check = None
    if chosen is not None and token is None:
        check = SignatureCheck(chosen, tuple(made), None, public_url, topics)
    return policies.route(
        name=name,
        path=b"/",
        token=token,
        signature=check,
        limits=LIMITS,
        provider=provider,
        event_header=known.event_header if known is not None else None,
        delivery_header=known.delivery_header if known is not None else None,
    )


def refused(
    guard: Route,
    fields: Mapping[str, bytes] | list[tuple[str, bytes]],
    body: bytes | None = JSON,
    *,
    target: bytes = TARGET,
    others: tuple[Route, ...] = (),
    now: float = NOW,
) -> Case:
    """The case of a delivery that ``guard`` refuses, with the reason that it gives."""
    listed = list(fields.items()) if isinstance(fields, Mapping) else fields
    head = head_of(Delivery(listed, body or b"", target=target))
    reason = _reason(guard, head, body or b"", now)
    assert isinstance(reason, Reason), "the guard lets it pass"
    return Case(reason, head, body, guard, (guard, *others), now)


def _reason(guard: Route, head: RequestHead, body: bytes, now: float) -> Reason | str:
    if guard.token is not None:
        return guard.token.check(head, now)
    assert guard.signature is not None
    begun = guard.signature.begin(head, now)
    return begun if isinstance(begun, Reason) else begun.verify(body)


def github(key: bytes, signed: bytes = JSON) -> dict[str, bytes]:
    """The fields of a GitHub delivery that is signed with ``key`` over ``signed``."""
    mac = hmac.new(key, signed, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={mac}".encode(), "X-GitHub-Event": b"push"}


def signed(provider: str, key: bytes, body: bytes = JSON, *, url: str = URL, now: float = NOW) -> dict[str, bytes]:
    """The fields that the provider would add."""
    known = find(provider)
    assert known is not None
    fields = sign(known, key, url=url, body=body, now=now)
    return {name.decode(): value for name, value in fields}


def mac(algorithm: str = "sha256", key: bytes = KEY, body: bytes = JSON) -> bytes:
    return hmac.new(key, body, algorithm).digest()


def token(kind: TokenKind = TokenKind.HEADER, name: bytes = b"x-token", *secrets: Secret) -> TokenCheck:
    return TokenCheck(kind, name, secrets or (Secret("main", TOKEN),))


@dataclass(frozen=True)
class Fault:
    """What somebody did wrong, the word for it, and what the sentence must name."""

    what: str
    word: str
    case: Case
    names: tuple[str, ...] = ()


OWN = Scheme((b"x-own-signature",), encoding=Encoding.BASE64)
STAMPED = Scheme((b"x-own-signature",), signed="{timestamp}.{body}", timestamp=Timestamp(b"x-own-time"))
OTHER = route("github", Secret("of the other", b"another secret"), name="other")
STANDARD_KEY = decode_secret(find("standard_webhooks"), TEXT)

SECRETS = (
    Fault(
        "the provider's secret was made with echo",
        "secret_blank_there",
        refused(route(), github(KEY + b"\n")),
        ("main",),
    ),
    Fault("a blank was pasted at the provider", "secret_blank_there", refused(route(), github(KEY + b" "))),
    Fault("Windows wrote the provider's secret", "secret_blank_there", refused(route(), github(KEY + b"\r\n"))),
    Fault(
        "a blank is left in our file", "secret_blank_here", refused(route("github", KEY + b" "), github(KEY)), ("main",)
    ),
    Fault(
        "two newlines at the end of our file",
        "secret_blank_here",
        refused(route("github", b"\n" + KEY + b"\n"), github(KEY)),
    ),
    Fault(
        "our file begins with a byte order mark",
        "secret_blank_here",
        refused(route("github", b"\xef\xbb\xbf" + KEY), github(KEY)),
    ),
    Fault("quotation marks in our file", "secret_quoted", refused(route("github", b'"' + KEY + b'"'), github(KEY))),
    Fault("quotation marks at the sender", "secret_quoted", refused(route(), github(b"'" + KEY + b"'"))),
    Fault("a whole environment file", "secret_several_lines", refused(route("github", b"SECRET=" + KEY), github(KEY))),
    Fault("two secrets in one file", "secret_several_lines", refused(route("github", b"old one\n" + KEY), github(KEY))),
    Fault("whsec_ was left out", "secret_prefix", refused(route("stripe", KEY), signed("stripe", b"whsec_" + KEY))),
    Fault("whsec_ was put before", "secret_prefix", refused(route("stripe", b"whsec_" + KEY), signed("stripe", KEY))),
    Fault(
        "the text of a Standard Webhooks secret is used as the key",
        "secret_not_decoded_there",
        refused(route("standard_webhooks", STANDARD_KEY), signed("standard_webhooks", b"whsec_" + TEXT)),
    ),
    Fault(
        "a hex key is used as text",
        "secret_not_decoded_there",
        refused(route("squarespace", bytes(range(32))), signed("squarespace", bytes(range(32)).hex().encode())),
    ),
    Fault(
        "the sender decodes a base64 secret",
        "secret_decoded_there",
        refused(route("github", TEXT), github(bytes(range(32)))),
    ),
    Fault(
        "the sender decodes a whsec_ secret",
        "secret_decoded_there",
        refused(route("polar", b"whsec_" + TEXT), signed("polar", bytes(range(32)))),
    ),
    Fault(
        "another route's secret",
        "secret_of_another_guard",
        refused(route(), github(b"another secret"), others=(OTHER,)),
        ("of the other", "other"),
    ),
    Fault(
        "another route's token",
        "secret_of_another_guard",
        refused(route(), github(TOKEN), others=(route("gitlab", token=token(), name="gitlab"),)),
        ("gitlab",),
    ),
    Fault(
        "a secret that is over",
        "secret_out_of_dates",
        refused(route("github", KEY, Secret("2025", b"another secret", not_after=NOW - 5)), github(b"another secret")),
        ("2025", "not_after has passed"),
    ),
    Fault(
        "a secret that is not yet valid",
        "secret_out_of_dates",
        refused(route("github", KEY, Secret("2027", b"another secret", not_before=NOW + 5)), github(b"another secret")),
        ("2027", "not_before is still to come"),
    ),
    Fault("no secret in the sender's environment", "secret_empty_there", refused(route(), github(b""))),
    Fault(
        "an API key in our file",
        "secret_is_api_key",
        refused(route("stripe", b"sk_live_4711"), signed("stripe", KEY)),
        ("API key of Stripe",),
    ),
    Fault(
        "a token in a head with a secret that has a newline",
        "secret_blank_there",
        refused(route("vonage", KEY), signed("vonage", KEY + b"\n"), None),
    ),
)

BODIES = (
    Fault("printf against echo", "body_line_end", refused(route(), github(KEY, JSON + b"\n"))),
    Fault("curl -d takes the newline away", "body_line_end", refused(route(), github(KEY, COMPACT + b"\n"), COMPACT)),
    Fault("an editor adds one", "body_line_end", refused(route(), github(KEY, COMPACT), COMPACT + b"\n")),
    Fault("git makes CRLF of LF", "body_line_ends", refused(route(), github(KEY), JSON.replace(b"\n", b"\r\n"))),
    Fault(
        "a gateway parses and writes compact JSON",
        "body_reencoded",
        refused(route(), github(KEY, json.dumps(json.loads(JSON), separators=(",", ":"), ensure_ascii=False).encode())),
    ),
    Fault(
        "the sender signs json.dumps and sends another form",
        "body_reencoded",
        refused(route(), github(KEY, json.dumps(json.loads(JSON)).encode())),
    ),
    Fault(
        "the sender signs what PHP writes",
        "body_reencoded",
        refused(route(), github(KEY, b'{"u":"a\\/b"}'), b'{"u": "a/b"}'),
    ),
    Fault(
        "JSON in JSON", "body_reencoded", refused(route(), github(KEY, COMPACT), json.dumps(COMPACT.decode()).encode())
    ),
    Fault(
        "the sender compresses after signing",
        "body_compressed",
        refused(route(), github(KEY), gzip.compress(JSON, mtime=0)),
    ),
    Fault(
        "the JSON inside payload= was signed",
        "body_form_field",
        refused(route(), github(KEY, COMPACT), b"payload=" + quote_plus(COMPACT).encode()),
    ),
    Fault(
        "payload= was signed and JSON came",
        "body_form_field",
        refused(route(), github(KEY, b"payload=" + quote_plus(COMPACT).encode()), COMPACT),
    ),
    Fault("latin-1 was signed", "body_charset", refused(route(), github(KEY, "é{}".encode("latin-1")), "é{}".encode())),
    Fault("a byte order mark came", "body_charset", refused(route(), github(KEY, COMPACT), b"\xef\xbb\xbf" + COMPACT)),
    Fault("a gateway encodes the body", "body_base64", refused(route(), github(KEY), base64.b64encode(JSON))),
    Fault("signed before there was a body", "body_left_out", refused(route(), github(KEY, b""))),
    Fault("a redirect lost the body", "body_empty", refused(route(), github(KEY), b"")),
    Fault("a body that was too large to keep", "body_not_held", refused(route(), github(KEY + b"x"), None)),
)

SIGNATURES = (
    Fault(
        "the SHA-1 value in the new header",
        "sha1_value",
        refused(route(), {"X-Hub-Signature-256": b"sha1=" + mac("sha1").hex().encode()}),
        ("x-hub-signature-256", "SHA-256"),
    ),
    Fault(
        "SHA-512 instead",
        "digest_other",
        refused(route(), {"X-Hub-Signature-256": b"sha512=" + mac("sha512").hex().encode()}),
        ("SHA-512",),
    ),
    Fault(
        "hex where base64 is meant",
        "signature_encoding",
        refused(route("own", scheme=OWN), {"X-Own-Signature": mac().hex().encode()}),
        ("hex", "base64"),
    ),
    Fault(
        "base64 where hex is meant",
        "signature_encoding",
        refused(route(), {"X-Hub-Signature-256": b"sha256=" + base64.b64encode(mac())}),
        ("base64",),
    ),
    Fault(
        "hex in capitals",
        "signature_encoding",
        refused(route(), {"X-Hub-Signature-256": b"sha256=" + mac().hex().upper().encode()}),
        ("capitals",),
    ),
    Fault(
        "no sha256= before it",
        "signature_prefix",
        refused(route(), {"X-Hub-Signature-256": mac().hex().encode()}),
        ('"sha256="',),
    ),
    Fault(
        "a bare signature for Stripe",
        "signature_no_list",
        refused(route("stripe"), {"Stripe-Signature": mac().hex().encode()}),
    ),
    Fault(
        "the header twice",
        "header_repeated",
        refused(route(), [("X-Hub-Signature-256", value) for value in github(KEY).values()][:1] * 2),
        ("x-hub-signature-256",),
    ),
    Fault(
        "two headers joined by a proxy",
        "header_joined",
        refused(route(), {"X-Hub-Signature-256": b", ".join([github(KEY)["X-Hub-Signature-256"]] * 2)}),
    ),
    Fault(
        "another version of HubSpot's scheme",
        "header_constant",
        refused(
            route("hubspot_v2"), {"X-HubSpot-Signature": mac().hex().encode(), "X-HubSpot-Signature-Version": b"v1"}
        ),
        ("v2",),
    ),
    Fault(
        "the SHA-1 header alone",
        "sha1_header",
        refused(route(), {"X-Hub-Signature": b"sha1=" + mac("sha1").hex().encode()}),
        ("x-hub-signature-256",),
    ),
    Fault(
        "a proxy dropped the id",
        "header_missing",
        refused(
            route("standard_webhooks"), {k: v for k, v in signed("standard_webhooks", KEY).items() if k != "webhook-id"}
        ),
        ("webhook-id",),
    ),
    Fault(
        "a proxy dropped the time",
        "header_missing",
        refused(route("slack"), {k: v for k, v in signed("slack", KEY).items() if "time" not in k}),
        ("x-slack-request-timestamp",),
    ),
    Fault(
        "the body alone was signed",
        "signed_text",
        refused(route("own", scheme=STAMPED), {"X-Own-Signature": mac().hex().encode(), "X-Own-Time": b"%d" % NOW}),
        ("{body}", "{timestamp}.{body}"),
    ),
)


def another_topic() -> Case:
    """A message of a topic that the route does not list."""
    sent = make("sns")
    provider = find("sns")
    assert provider is not None
    guard = route("sns", decode_secret(provider, sent.secret), topics=("arn:aws:sns:us-east-1:2:other",))
    return refused(guard, sent.fields, sent.body)


def shown(body: bytes) -> dict[str, bytes]:
    """What Pusher signs for a visitor, as the signature of a delivery."""
    return {"X-Pusher-Signature": hmac.new(KEY, body, hashlib.sha256).hexdigest().encode()}


TOPICS = (
    Fault("a topic that is not listed", "topic_other", another_topic()),
    Fault(
        "a channel that was signed for a visitor",
        "body_no_delivery",
        refused(route("pusher"), shown(b"1234.5678:private-x"), b"1234.5678:private-x"),
        ("main", "Pusher Channels"),
    ),
)

URLS = (
    Fault(
        "http at the provider",
        "url_scheme",
        refused(route("square"), signed("square", KEY, url=URL.replace("https", "http"))),
    ),
    Fault(
        "the host behind a proxy",
        "url_host",
        refused(route("square", public_url="https://inside.example"), signed("square", KEY)),
    ),
    Fault(
        "the host that a proxy names",
        "url_host",
        refused(
            route("square"),
            {**signed("square", KEY, url=URL.replace("hooks.", "www.")), "X-Forwarded-Host": b"www.example.com"},
        ),
    ),
    Fault(
        "the port is part of it",
        "url_host",
        refused(route("square"), signed("square", KEY, url=URL.replace(".com/", ".com:443/"))),
    ),
    Fault(
        "the query was added on the way",
        "url_query",
        refused(route("square"), signed("square", KEY, url=URL.partition("?")[0])),
    ),
    Fault(
        "the query was decoded",
        "url_query",
        refused(route("square"), signed("square", KEY, url=URL.replace("%20", " "))),
    ),
    Fault(
        "public_url is whole and the query is missing in it",
        "url_query",
        refused(route("square", public_url="https://hooks.example.com/in/here"), signed("square", KEY)),
    ),
    Fault(
        "a proxy takes the prefix away",
        "url_path",
        refused(
            route("square"), {**signed("square", KEY, url=URL.replace("/in", "/api/in")), "X-Forwarded-Prefix": b"/api"}
        ),
    ),
    Fault(
        "a proxy rewrites the path that is signed",
        "url_path",
        refused(
            route("contentful"),
            {
                **signed("contentful", KEY, url=URL.replace("/in", "/api/in")),
                "X-Original-URI": TARGET.replace(b"/in", b"/api/in"),
            },
        ),
    ),
    Fault(
        "a slash at the end",
        "url_path",
        refused(route("square"), signed("square", KEY, url="https://hooks.example.com/in/"), target=b"/in"),
    ),
)

TIMES = (
    Fault(
        "our clock is ahead, or a replay",
        "timestamp_old",
        refused(route("slack"), signed("slack", KEY, now=NOW - 412)),
        ("412 s", "300 s", "2025-11-24T15:53:08Z"),
    ),
    Fault(
        "our clock is behind",
        "timestamp_ahead",
        refused(route("slack"), signed("slack", KEY, now=NOW + 1000)),
        ("1000 s",),
    ),
    Fault(
        "the time is in a list",
        "timestamp_old",
        refused(route("stripe"), signed("stripe", KEY, now=NOW - 999)),
        ("999 s",),
    ),
    Fault(
        "the time is in the token", "timestamp_old", refused(route("vonage"), signed("vonage", KEY, now=NOW - 5000)), ()
    ),
    Fault(
        "the time is in the body",
        "timestamp_old",
        refused(
            route("mailgun"),
            {},
            json.dumps(
                {
                    "signature": {
                        "timestamp": str(NOW - 700),
                        "token": "ab",
                        "signature": hmac.new(KEY, f"{NOW - 700}ab".encode(), "sha256").hexdigest(),
                    }
                }
            ).encode(),
        ),
        ("700 s",),
    ),
    Fault(
        "milliseconds for seconds",
        "timestamp_unit",
        refused(route("slack"), {**signed("slack", KEY), "x-slack-request-timestamp": b"%d000" % NOW}),
        ("milliseconds",),
    ),
    Fault(
        "seconds for milliseconds",
        "timestamp_unit",
        refused(route("front"), {**signed("front", KEY), "x-front-request-timestamp": b"%d" % NOW}),
        ("seconds",),
    ),
    Fault(
        "a date for seconds",
        "timestamp_unit",
        refused(route("slack"), {**signed("slack", KEY), "x-slack-request-timestamp": b"2025-11-24T16:00:00Z"}),
        ("a date",),
    ),
)

SENDERS = (
    Fault(
        "Bitbucket at GitHub's path",
        "other_provider",
        refused(route(), {**signed("bitbucket", KEY), "X-Event-Key": b"repo:push", "X-Request-UUID": b"1"}),
        ("Bitbucket Cloud", "GitHub"),
    ),
    Fault(
        "GitLab at GitHub's path",
        "other_provider",
        refused(route(), {"X-Gitlab-Token": TOKEN, "X-Gitlab-Event": b"Push Hook"}),
        ("GitLab", 'provider = "gitlab"'),
    ),
    Fault("Slack at Stripe's path", "other_provider", refused(route("stripe"), signed("slack", KEY)), ("Slack",)),
    Fault(
        "the sibling scheme in the same header",
        "other_scheme",
        refused(
            route("bitbucket", KEY, scheme=Scheme((b"x-hub-signature",), prefix=b"sha256=", signed="x{body}")),
            signed("bitbucket", KEY),
        ),
        ("Bitbucket",),
    ),
    Fault("no secret is set at GitHub", "unsigned", refused(route(), {"X-GitHub-Event": b"ping"}), ("GitHub",)),
    Fault("curl without anything", "by_hand", refused(route(), {"User-Agent": b"curl/8"}), ("GitHub",)),
    Fault("half a signature", "proof_garbled", refused(route(), {"X-Hub-Signature-256": b"sha256=0123"}), ("GitHub",)),
    Fault("two different secrets", "unknown", refused(route(), github(b"something else entirely"))),
)

BASIC = token(TokenKind.BASIC, b"", Secret("main", b"user:pass word"))
TOKENS = (
    Fault(
        "a newline after the token",
        "token_badly_copied",
        refused(route("own", token=token(TokenKind.QUERY, b"t")), {}, target=b"/?t=" + TOKEN + b"%0A"),
        ("main",),
    ),
    Fault(
        "Bearer before the token",
        "token_badly_copied",
        refused(route("gitlab", token=token()), {"X-Token": b"Bearer " + TOKEN}),
    ),
    Fault(
        "quotation marks around the token",
        "token_badly_copied",
        refused(route("gitlab", token=token()), {"X-Token": b'"' + TOKEN + b'"'}),
    ),
    Fault(
        "a token that is over",
        "token_out_of_dates",
        refused(
            route("gitlab", token=token(TokenKind.HEADER, b"x-token", Secret("old", TOKEN, not_after=NOW))),
            {"X-Token": TOKEN},
        ),
        ("old",),
    ),
    Fault(
        "another route's token",
        "token_of_another_route",
        refused(
            route("gitlab", token=token(TokenKind.HEADER, b"x-token", Secret("main", b"another secret"))),
            {"X-Token": TOKEN},
            others=(route("gitlab", token=token(), name="second"),),
        ),
        ("second",),
    ),
    Fault(
        "the token in the query",
        "token_in_another_place",
        refused(route("gitlab", token=token()), {}, target=b"/?token=" + TOKEN),
        ("the query",),
    ),
    Fault(
        "the token in Authorization",
        "token_in_another_place",
        refused(route("gitlab", token=token()), {"Authorization": b"Bearer " + TOKEN}),
        ("Authorization",),
    ),
    Fault("no token", "token_absent", refused(route("own", token=token()), {}), ("x-token",)),
    Fault(
        "no token from GitLab",
        "unsigned",
        refused(replace(route("gitlab", token=token()), provider="gitlab"), {"X-Gitlab-Event": b"Push Hook"}),
    ),
    Fault(
        "Basic, and the client waits for the challenge",
        "token_absent",
        refused(route("own", token=BASIC), {}),
        ("Basic",),
    ),
    Fault(
        "a newline in the password",
        "token_badly_copied",
        refused(route("own", token=BASIC), {"Authorization": b"Basic " + base64.b64encode(b"user:pass word\n")}),
    ),
    Fault("a wrong token", "unknown", refused(route("own", token=token()), {"X-Token": b"guess"})),
)

FAULTS = (*SECRETS, *BODIES, *SIGNATURES, *URLS, *TOPICS, *TIMES, *SENDERS, *TOKENS)
