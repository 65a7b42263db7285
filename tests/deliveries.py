"""Deliveries as the providers make them, signed by code that shares nothing with the product.

One row per provider, written from the provider's description with ``hmac`` and f-strings. ``make(slug)`` gives the
delivery; the ``check_*`` functions are what every provider must stand.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from types import ModuleType
from urllib.parse import quote, urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from proxy.core.grammar import index_lines
from proxy.core.schemes import PROVIDERS, Provider, decode_secret
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import Encoding, Secret, TimeFormat
from proxy.http1 import Framing, RequestHead
from proxy.reasons import Reason

NOW = 1_764_000_000
URL = "https://hooks.example.com/in/here?x=1&a=b%20c"
ORIGIN = "https://hooks.example.com"
TARGET = b"/in/here?x=1&a=b%20c"
BODY = '{"event":"push","text":"zażółć \\"x\\" \\\\ 🎉\\n","n":[1,2.50,null]}\r\n\t'.encode()
TOPICS = ("arn:aws:sns:us-east-1:1:t",)
RAW = b"It's a secret: 0123456789abcdef"
HEX_SECRET = b"00ff" * 16
BASE64_SECRET = base64.b64encode(bytes(range(32)))


@dataclass
class Delivery:
    """One request: the first field is the signature's, where it has one."""

    fields: list[tuple[str, bytes]]
    body: bytes = BODY
    secret: bytes = RAW
    stamp: str | None = None  # header of the timestamp
    method: bytes = b"POST"
    target: bytes = TARGET
    covered: bool = True
    others: list[bytes] = field(default_factory=list)


def mac(key: bytes, message: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(key, message, algorithm).digest()


def b64(value: bytes) -> bytes:
    return base64.b64encode(value)


def b64url(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def hexa(value: bytes) -> bytes:
    return value.hex().encode()


def iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S")


# --- body only: slug -> (header, algorithm, writer, prefix, secret as shown, key)

PLAIN = (RAW, RAW)
FROM_HEX = (HEX_SECRET, bytes.fromhex(HEX_SECRET.decode()))
FROM_BASE64 = (BASE64_SECRET, bytes(range(32)))

BODY_ONLY: dict[str, tuple[str, str, Callable[[bytes], bytes], str, tuple[bytes, bytes]]] = {
    "adyen_management": ("HmacSignature", "sha256", b64, "", FROM_HEX),
    "adyen_platform": ("HmacSignature", "sha256", b64, "", FROM_HEX),
    "aftership": ("aftership-hmac-sha256", "sha256", b64, "", PLAIN),
    "airtable": ("X-Airtable-Content-MAC", "sha256", hexa, "hmac-sha256=", FROM_BASE64),
    "alchemy": ("X-Alchemy-Signature", "sha256", hexa, "", PLAIN),
    "asana": ("X-Hook-Signature", "sha256", hexa, "", PLAIN),
    "authorize_net": ("X-ANET-Signature", "sha512", lambda v: hexa(v).upper(), "sha512=", FROM_HEX),
    "autodesk": ("x-adsk-signature", "sha1", hexa, "sha1hash=", PLAIN),
    "autotask": ("X-Hook-Signature", "sha1", b64, "sha1=", PLAIN),
    "bitbucket": ("X-Hub-Signature", "sha256", hexa, "sha256=", PLAIN),
    "bitbucket_dc": ("X-Hub-Signature", "sha256", hexa, "sha256=", PLAIN),
    "bolt": ("X-Bolt-Hmac-Sha256", "sha256", b64, "", PLAIN),
    "cal_com": ("X-Cal-Signature-256", "sha256", hexa, "", PLAIN),
    "castle": ("X-Castle-Signature", "sha256", b64, "", PLAIN),
    "chargify": ("X-Chargify-Webhook-Signature-Hmac-Sha-256", "sha256", hexa, "", PLAIN),
    "checkout_com": ("cko-signature", "sha256", hexa, "", PLAIN),
    "circleci": ("circleci-signature", "sha256", hexa, "v1=", PLAIN),
    "clearbit": ("X-Request-Signature", "sha1", hexa, "sha1=", PLAIN),
    "clickup": ("X-Signature", "sha256", hexa, "", PLAIN),
    "coinbase": ("X-CC-Webhook-Signature", "sha256", hexa, "", PLAIN),
    "cursor": ("X-Webhook-Signature", "sha256", hexa, "sha256=", PLAIN),
    "docusign": ("X-DocuSign-Signature-1", "sha256", b64, "", PLAIN),
    "dropbox": ("X-Dropbox-Signature", "sha256", hexa, "", PLAIN),
    "dwolla": ("X-Request-Signature-SHA-256", "sha256", hexa, "", PLAIN),
    "facebook_graph_api": ("X-Hub-Signature-256", "sha256", hexa, "sha256=", PLAIN),
    "facebook_messenger": ("X-Hub-Signature-256", "sha256", hexa, "sha256=", PLAIN),
    "forgejo": ("X-Forgejo-Signature", "sha256", hexa, "", PLAIN),
    "gitea": ("X-Gitea-Signature", "sha256", hexa, "", PLAIN),
    "github": ("X-Hub-Signature-256", "sha256", hexa, "sha256=", PLAIN),
    "github_sha1": ("X-Hub-Signature", "sha1", hexa, "sha1=", PLAIN),
    "gocardless": ("Webhook-Signature", "sha256", hexa, "", PLAIN),
    "heroku": ("Heroku-Webhook-Hmac-SHA256", "sha256", b64, "", PLAIN),
    "hookdeck": ("x-hookdeck-signature", "sha256", b64, "", PLAIN),
    "instagram": ("X-Hub-Signature-256", "sha256", hexa, "sha256=", PLAIN),
    "intercom": ("X-Hub-Signature", "sha1", hexa, "sha1=", PLAIN),
    "jira": ("X-Hub-Signature", "sha256", hexa, "sha256=", PLAIN),
    "launch_darkly": ("X-LD-Signature", "sha256", hexa, "", PLAIN),
    "lemonsqueezy": ("X-Signature", "sha256", hexa, "", PLAIN),
    "line": ("x-line-signature", "sha256", b64, "", PLAIN),
    "linear": ("Linear-Signature", "sha256", hexa, "", PLAIN),
    "microsoft_teams": ("Authorization", "sha256", b64, "HMAC ", FROM_BASE64),
    "modern_treasury": ("X-Signature", "sha256", hexa, "", PLAIN),
    "mongodb": ("X-MMS-Signature", "sha1", b64, "", PLAIN),
    "notion": ("X-Notion-Signature", "sha256", hexa, "sha256=", PLAIN),
    "npm": ("x-npm-signature", "sha256", hexa, "sha256=", PLAIN),
    "onfleet": ("X-Onfleet-Signature", "sha512", hexa, "", FROM_HEX),
    "pagerduty": ("X-PagerDuty-Signature", "sha256", hexa, "v1=", PLAIN),
    "paystack": ("x-paystack-signature", "sha512", hexa, "", PLAIN),
    "pusher": ("X-Pusher-Signature", "sha256", hexa, "", PLAIN),
    "quickbooks": ("intuit-signature", "sha256", b64, "", PLAIN),
    "razorpay": ("X-Razorpay-Signature", "sha256", hexa, "", PLAIN),
    "segment": ("X-Signature", "sha1", hexa, "", PLAIN),
    "sentry": ("Sentry-Hook-Signature", "sha256", hexa, "", PLAIN),
    "shopify": ("X-Shopify-Hmac-Sha256", "sha256", b64, "", PLAIN),
    "shopify_events": ("Shopify-Hmac-Sha256", "sha256", b64, "", PLAIN),
    "signal_sciences": ("X-SigSci-Signature", "sha256", hexa, "", PLAIN),
    "sonatype": ("X-Nexus-Webhook-Signature", "sha1", hexa, "", PLAIN),
    "squarespace": ("Squarespace-Signature", "sha256", hexa, "", FROM_HEX),
    "terraform": ("X-TFE-Notification-Signature", "sha512", hexa, "", PLAIN),
    "trendmicro_conformity": ("X-Conformity-Signature", "sha256", hexa, "", PLAIN),
    "twitter": ("x-twitter-webhooks-signature", "sha256", b64, "sha256=", PLAIN),
    "typeform": ("Typeform-Signature", "sha256", b64, "sha256=", PLAIN),
    "vercel": ("x-vercel-signature", "sha1", hexa, "", PLAIN),
    "webex": ("X-Spark-Signature", "sha1", hexa, "", PLAIN),
    "whatsapp": ("X-Hub-Signature-256", "sha256", hexa, "sha256=", PLAIN),
    "woocommerce": ("X-WC-Webhook-Signature", "sha256", b64, "", PLAIN),
    "worldline": ("X-GCS-Signature", "sha256", b64, "", PLAIN),
    "worldpay": ("Event-Signature", "sha256", hexa, "key7/SHA256/", PLAIN),
    "xero": ("x-xero-signature", "sha256", b64, "", PLAIN),
}

# --- the signature header holds the time: slug -> (header, "list with {t} and {s}", ms, signed, algorithm, writer)

IN_LIST: dict[str, tuple[str, str, int, str, str, Callable[[bytes], bytes]]] = {
    "affirm": ("X-Affirm-Signature", "t={t},v0={s}", 1, "{t}.", "sha512", hexa),
    "buildkite": ("X-Buildkite-Signature", "timestamp={t},signature={s}", 1, "{t}.", "sha256", hexa),
    "calendly": ("Calendly-Webhook-Signature", "t={t},v1={s}", 1, "{t}.", "sha256", hexa),
    "elevenlabs": ("ElevenLabs-Signature", "t={t},v0={s}", 1, "{t}.", "sha256", hexa),
    "go1": ("Go1-Signature", "t={t},v1={s}", 1, "{t}.", "sha256", hexa),
    "hostedhooks": ("Hostedhooks-Signature", "t={t},s={s}", 1, "{t}.", "sha256", hexa),
    "mux": ("Mux-Signature", "t={t},v1={s}", 1, "{t}.", "sha256", hexa),
    "paddle": ("Paddle-Signature", "ts={t};h1={s}", 1, "{t}:", "sha256", hexa),
    "persona": ("Persona-Signature", "t={t},v1={s}", 1, "{t}.", "sha256", hexa),
    "recurly": ("recurly-signature", "{t},{s}", 1000, "{t}.", "sha256", hexa),
    "sanity": ("sanity-webhook-signature", "t={t},v1={s}", 1000, "{t}.", "sha256", b64url),
    "shippo": ("Shippo-Auth-Signature", "t={t},v1={s}", 1, "{t}.", "sha256", hexa),
    "stripe": ("Stripe-Signature", "t={t},v1={s},v0=aa", 1, "{t}.", "sha256", hexa),
    "tiktok": ("TikTok-Signature", "t={t},s={s}", 1, "{t}.", "sha256", hexa),
    "workos": ("WorkOS-Signature", "t={t}, v1={s}", 1000, "{t}.", "sha256", hexa),
}

# --- the time has its own header: slug -> (header, prefix, time header, unit, signed before, signed after, writer)

OWN_HEADER: dict[str, tuple[str, str, str, str, str, str, Callable[[bytes], bytes]]] = {
    "airship": ("X-UA-SIGNATURE", "", "X-UA-TIMESTAMP", "s", "{t}:", "", hexa),
    "airwallex": ("x-signature", "", "x-timestamp", "ms", "{t}", "", hexa),
    "customerio": ("X-CIO-Signature", "", "X-CIO-Timestamp", "s", "v0:{t}:", "", hexa),
    "frameio": ("X-Frameio-Signature", "v0=", "X-Frameio-Request-Timestamp", "s", "v0:{t}:", "", hexa),
    "front": ("X-Front-Signature", "", "X-Front-Request-Timestamp", "ms", "{t}:", "", b64),
    "klaviyo": ("Klaviyo-Signature", "", "Klaviyo-Timestamp", "http", "", "{t}", hexa),
    "lob": ("Lob-Signature", "", "Lob-Signature-Timestamp", "s", "{t}.", "", hexa),
    "orb": ("X-Orb-Signature", "v1=", "X-Orb-Timestamp", "iso", "v1:{t}:", "", hexa),
    "pinwheel": ("x-pinwheel-signature", "v2=", "x-timestamp", "s", "v2:{t}:", "", hexa),
    "slack": ("X-Slack-Signature", "v0=", "X-Slack-Request-Timestamp", "s", "v0:{t}:", "", hexa),
    "webflow": ("x-webflow-signature", "", "x-webflow-timestamp", "ms", "{t}:", "", hexa),
    "zendesk": ("X-Zendesk-Webhook-Signature", "", "X-Zendesk-Webhook-Signature-Timestamp", "rfc3339", "{t}", "", b64),
    "zoom": ("x-zm-signature", "v0=", "x-zm-request-timestamp", "s", "v0:{t}:", "", hexa),
}

SVIX = ("svix-id", "svix-timestamp", "svix-signature")
WEBHOOK = ("webhook-id", "webhook-timestamp", "webhook-signature")
STANDARD = {
    "standard_webhooks": WEBHOOK,
    "svix": SVIX,
    "clerk": SVIX,
    "resend": SVIX,
    "stytch": SVIX,
    "vanta": SVIX,
    "brex": WEBHOOK,
    "openai": WEBHOOK,
    "replicate": WEBHOOK,
    "supabase": WEBHOOK,
    "render": WEBHOOK,
    "polar": WEBHOOK,
    "liveblocks": WEBHOOK,
    "incident_io": WEBHOOK,
    "etsy": WEBHOOK,
    "gemini": WEBHOOK,
    "increase": WEBHOOK,
    "gitlab_signing_token": WEBHOOK,
}
STANDARD_SECRETS = {
    "brex": FROM_BASE64,
    "polar": (b"polar_whs_abc", b"polar_whs_abc"),
    "supabase": (b"v1,whsec_" + BASE64_SECRET, bytes(range(32))),
}


def write(now: float, unit: str) -> str:
    if unit == "ms":
        return str(int(now * 1000))
    if unit in ("rfc3339", "iso"):
        return iso(now) + ("Z" if unit == "rfc3339" else "")
    if unit == "http":
        return datetime.fromtimestamp(now, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return str(int(now))


def _body_only(slug: str, _now: float, body: bytes) -> Delivery:
    header, algorithm, writer, prefix, (shown, key) = BODY_ONLY[slug]
    return Delivery([(header, prefix.encode() + writer(mac(key, body, algorithm)))], body, shown)


def _in_list(slug: str, now: float, body: bytes) -> Delivery:
    header, text, scale, before, algorithm, writer = IN_LIST[slug]
    t = str(int(now * scale))
    s = writer(mac(RAW, before.format(t=t).encode() + body, algorithm))
    return Delivery([(header, text.format(t=t, s=s.decode()).encode())], body)


def _own_header(slug: str, now: float, body: bytes) -> Delivery:
    header, prefix, stamp, unit, before, after, writer = OWN_HEADER[slug]
    t = write(now, unit)
    s = writer(mac(RAW, before.format(t=t).encode() + body + after.format(t=t).encode()))
    return Delivery([(header, prefix.encode() + s), (stamp, t.encode())], body, stamp=stamp)


def _standard(slug: str, now: float, body: bytes) -> Delivery:
    identity, stamp, header = STANDARD[slug]
    shown, key = STANDARD_SECRETS.get(slug, (b"whsec_" + BASE64_SECRET, bytes(range(32))))
    t = str(int(now)).encode()
    s = b64(mac(key, b"msg_1." + t + b"." + body))
    return Delivery([(header, b"v1," + s), (stamp, t), (identity, b"msg_1")], body, shown, stamp)


def _linkedin(_slug: str, _now: float, body: bytes) -> Delivery:
    return Delivery([("X-LI-Signature", hexa(mac(RAW, b"hmacsha256=" + body)))], body)


def _graphcms(_slug: str, now: float, body: bytes) -> Delivery:
    text = body.decode("utf-8", "surrogateescape")
    # ensure_ascii=False writes what JSON.stringify writes
    signed = (
        '{"Body":'
        + json.dumps(text, ensure_ascii=False)
        + ',"EnvironmentName":"my\\"env","TimeStamp":'
        + str(int(now * 1000))
        + "}"
    ).encode("utf-8", "surrogateescape")
    value = f'sign={b64(mac(RAW, signed)).decode()}, env=my"env, t={int(now * 1000)}'
    return Delivery([("gcms-signature", value.encode())], body)


def _mercado_pago(_slug: str, now: float, body: bytes) -> Delivery:
    manifest = f"id:123abc;request-id:req-9;ts:{int(now)};".encode()
    fields = [("x-signature", f"ts={int(now)},v1={mac(RAW, manifest).hex()}".encode()), ("x-request-id", b"req-9")]
    return Delivery(fields, body, target=b"/in?data.id=123abc&type=payment", covered=False)


def _contentful(_slug: str, now: float, body: bytes) -> Delivery:
    t = str(int(now * 1000)).encode()
    names = b"x-contentful-signed-headers,x-contentful-timestamp"
    headers = b"x-contentful-signed-headers:" + names + b";x-contentful-timestamp:" + t
    # encodeURI(path + "?" + querystring.escape(query))
    path = quote("/in/here?" + quote("x=1&a=b%20c", safe="!'()*-._~"), safe=";,/?:@&=+$-_.!~*'()#").encode()
    signed = b"\n".join([b"POST", path, headers, body])
    fields = [
        ("x-contentful-signature", hexa(mac(RAW, signed))),
        ("x-contentful-timestamp", t),
        ("x-contentful-signed-headers", names),
    ]
    return Delivery(fields, body, stamp="x-contentful-timestamp")


def _twitch(_slug: str, now: float, body: bytes) -> Delivery:
    t = (iso(now) + ".123456789Z").encode()
    s = b"sha256=" + hexa(mac(RAW, b"id-1" + t + body))
    stamp = "Twitch-Eventsub-Message-Timestamp"
    fields = [("Twitch-Eventsub-Message-Signature", s), (stamp, t), ("Twitch-Eventsub-Message-Id", b"id-1")]
    return Delivery(fields, body, stamp=stamp)


def _box(_slug: str, now: float, body: bytes) -> Delivery:
    t = (iso(now) + "+00:00").encode()
    fields = [
        ("BOX-SIGNATURE-PRIMARY", b64(mac(RAW, body + t))),
        ("BOX-DELIVERY-TIMESTAMP", t),
        ("BOX-SIGNATURE-VERSION", b"1"),
        ("BOX-SIGNATURE-ALGORITHM", b"HmacSHA256"),
    ]
    return Delivery(fields, body, stamp="BOX-DELIVERY-TIMESTAMP")


def _sinch(_slug: str, now: float, body: bytes) -> Delivery:
    t = str(int(now)).encode()
    stamp = "x-sinch-webhook-signature-timestamp"
    fields = [
        ("x-sinch-webhook-signature", b64(mac(RAW, body + b".n0nce." + t))),
        (stamp, t),
        ("x-sinch-webhook-signature-nonce", b"n0nce"),
    ]
    return Delivery(fields, body, stamp=stamp)


def _hubspot(slug: str, now: float, body: bytes) -> Delivery:
    url = URL.encode()
    if slug == "hubspot_v3":
        t = str(int(now * 1000)).encode()
        stamp = "X-HubSpot-Request-Timestamp"
        fields = [("X-HubSpot-Signature-v3", b64(mac(RAW, b"POST" + url + body + t))), (stamp, t)]
        return Delivery(fields, body, stamp=stamp)
    text = RAW + body if slug == "hubspot_v1" else RAW + b"POST" + url + body
    version = slug[-2:].encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    return Delivery([("X-HubSpot-Signature", digest), ("X-HubSpot-Signature-Version", version)], body)


def _square(_slug: str, _now: float, body: bytes) -> Delivery:
    return Delivery([("x-square-hmacsha256-signature", b64(mac(RAW, URL.encode() + body)))], body)


def _trello(_slug: str, _now: float, body: bytes) -> Delivery:
    return Delivery([("X-Trello-Webhook", b64(mac(RAW, body + URL.encode(), "sha1")))], body)


# --- tokens


def jwt(key: bytes, claims: dict[str, object], algorithm: str = "HS256", **header: object) -> bytes:
    def part(value: dict[str, object]) -> bytes:
        return b64url(json.dumps(value).encode())

    signed = part({"alg": algorithm, "typ": "JWT"} | header) + b"." + part(claims)
    return signed + b"." + b64url(jose_sign(algorithm, key, signed))


def jose_sign(algorithm: str, key: bytes, signed: bytes) -> bytes:
    if algorithm.startswith("HS"):
        return mac(key, signed, "sha" + algorithm[2:])
    if algorithm == "ES256":
        r, s = decode_dss_signature(keys().ec.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)
    if algorithm == "RS256":
        return keys().rsa.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return keys().ed25519.sign(signed) if algorithm == "EdDSA" else b"x"


def _token(slug: str, now: float, body: bytes) -> Delivery:
    digest = hashlib.sha256(body)
    in_hex, in_base64 = digest.hexdigest(), b64(digest.digest()).decode()
    iat = int(now)
    if slug == "fusionauth":
        return Delivery([("X-FusionAuth-Signature-JWT", jwt(RAW, {"request_body_sha256": in_base64}, "HS512"))], body)
    if slug == "fusionauth_public_key":
        token = jwt(b"", {"request_body_sha256": in_base64}, "RS256")
        return Delivery([("X-FusionAuth-Signature-JWT", token)], body, keys().rsa_pem)
    if slug == "kinde":
        claims = {"type": "user.created", "event_id": "event_1"}
        return Delivery([], jwt(b"", claims, "RS256"), keys().rsa_pem)
    if slug == "livekit":
        token = jwt(RAW, {"iss": "APIkey", "exp": iat + 60, "nbf": iat, "sha256": in_base64})
        return Delivery([("Authorization", token)], body, b"APIkey:" + RAW)
    if slug == "messagebird":
        url_hash = hashlib.sha256(URL.encode()).hexdigest()
        told = {"exp": iat + 60, "nbf": iat, "iss": "MessageBird", "url_hash": url_hash, "payload_hash": in_hex}
        return Delivery([("MessageBird-Signature-JWT", jwt(RAW, told, "HS384"))], body)
    if slug == "monday":
        return Delivery([("Authorization", jwt(RAW, {"exp": iat + 60, "aud": URL}))], body, covered=False)
    if slug == "netlify":
        return Delivery([("X-Webhook-Signature", jwt(RAW, {"iss": "netlify", "sha256": in_hex}))], body)
    if slug == "plaid":
        token = jwt(b"", {"iat": iat, "request_body_sha256": in_hex}, "ES256", kid="k1")
        return Delivery([("Plaid-Verification", token)], body, keys().ec_jwk)
    assert slug == "vonage"
    return Delivery([("Authorization", b"Bearer " + jwt(RAW, {"iat": iat, "payload_hash": in_hex}))], body)


# --- public keys


class Keys:
    """One key pair of each kind, made once."""

    def __init__(self) -> None:
        self.ed25519 = ed25519.Ed25519PrivateKey.generate()
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ed25519_raw = self.ed25519.public_key().public_bytes_raw()
        self.rsa_pem = self.rsa.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.ec_spki = b64(
            self.ec.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        point = self.ec.public_key().public_numbers()
        self.ec_jwk = json.dumps(
            {
                "kty": "EC",
                "crv": "P-256",
                "x": b64url(point.x.to_bytes(32)).decode(),
                "y": b64url(point.y.to_bytes(32)).decode(),
            }
        ).encode()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.example.com")])
        start = datetime(2025, 1, 1, tzinfo=UTC)
        self.rsa_certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.rsa.public_key())
            .serial_number(1)
            .not_valid_before(start)
            .not_valid_after(start.replace(year=2035))
            .sign(self.rsa, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )


@cache
def keys() -> Keys:
    return Keys()


def _public_key(slug: str, now: float, body: bytes) -> Delivery:
    t = str(int(now)).encode()
    if slug == "discord":
        s = hexa(keys().ed25519.sign(t + body))
        fields = [("X-Signature-Ed25519", s), ("X-Signature-Timestamp", t)]
        return Delivery(fields, body, hexa(keys().ed25519_raw), "X-Signature-Timestamp")
    if slug == "telnyx":
        s = b64(keys().ed25519.sign(t + b"|" + body))
        fields = [("telnyx-signature-ed25519", s), ("telnyx-timestamp", t)]
        return Delivery(fields, body, b64(keys().ed25519_raw), "telnyx-timestamp")
    if slug == "standard_webhooks_v1a":
        s = b64(keys().ed25519.sign(b"msg_1." + t + b"." + body))
        fields = [("webhook-signature", b"v1a," + s), ("webhook-timestamp", t), ("webhook-id", b"msg_1")]
        return Delivery(fields, body, b"whpk_" + b64(keys().ed25519_raw), "webhook-timestamp")
    if slug == "ebay":
        s = keys().ec.sign(body, ec.ECDSA(hashes.SHA1()))
        value = b64(json.dumps({"alg": "ecdsa", "kid": "k", "signature": b64(s).decode()}).encode())
        return Delivery([("X-EBAY-SIGNATURE", value)], body, keys().ec_spki)
    if slug == "sendgrid":
        s = b64(keys().ec.sign(t + body, ec.ECDSA(hashes.SHA256())))
        stamp = "X-Twilio-Email-Event-Webhook-Timestamp"
        return Delivery([("X-Twilio-Email-Event-Webhook-Signature", s), (stamp, t)], body, keys().ec_spki, stamp)
    if slug == "paypal":
        t = (iso(now) + "Z").encode()
        signed = b"|".join([b"id-1", t, b"WEBHOOK7", str(zlib.crc32(body)).encode()])
        s = b64(keys().rsa.sign(signed, padding.PKCS1v15(), hashes.SHA256()))
        stamp = "PAYPAL-TRANSMISSION-TIME"
        fields = [("PAYPAL-TRANSMISSION-SIG", s), (stamp, t), ("PAYPAL-TRANSMISSION-ID", b"id-1")]
        return Delivery(fields, body, b"WEBHOOK7:" + keys().rsa_certificate, stamp)
    assert slug == "wise"
    s = b64(keys().rsa.sign(body, padding.PKCS1v15(), hashes.SHA256()))
    return Delivery([("X-Signature-SHA256", s)], body, keys().rsa_pem)


# --- parsed bodies

FORM = {"To": "+4812", "Empty": "", "Body": "zażółć & co=1", "From": "x y"}


def _form(slug: str, _now: float, _body: bytes) -> Delivery:
    body = urlencode(FORM).encode()
    flat = "".join(key + FORM[key] for key in sorted(FORM)).encode()
    if slug.startswith("twilio"):
        algorithm = "sha256" if slug.endswith("256") else "sha1"
        s = b64(mac(RAW, URL.encode() + flat, algorithm))
        return Delivery([("X-Twilio-Signature", s)], body)
    if slug == "mailchimp":
        return Delivery([("X-Mandrill-Signature", b64(mac(RAW, URL.encode() + flat, "sha1")))], body)
    if slug == "plivo":
        signed = b"https://hooks.example.com/in/here?a=b c&x=1." + flat + b".n0"
        fields = [("X-Plivo-Signature-V3", b64(mac(RAW, signed))), ("X-Plivo-Signature-V3-Nonce", b"n0")]
        return Delivery(fields, body)
    assert slug == "braintree"
    payload = b64(b"<notification>x</notification>") + b"\n"
    s = hexa(mac(hashlib.sha1(RAW).digest(), payload, "sha1"))
    body = urlencode({"bt_signature": b"other|00" + b"00" * 19 + b"&pub|" + s, "bt_payload": payload}).encode()
    return Delivery([], body, b"pub:" + RAW)


def _json_body(slug: str, now: float, _body: bytes) -> Delivery:
    if slug == "mailgun":
        t = str(int(now))
        s = mac(RAW, (t + "tok").encode()).hex()
        tree: dict[str, object] = {
            "signature": {"timestamp": t, "token": "tok", "signature": s},
            "event-data": {"a": 1},
        }
        return Delivery([], json.dumps(tree).encode(), covered=False)
    if slug == "microsoft_graph":
        tree = {"value": [{"clientState": RAW.decode(), "id": "1"}, {"clientState": RAW.decode()}]}
        return Delivery([], json.dumps(tree).encode(), covered=False)
    if slug == "adyen_payments":
        item = {
            "pspReference": "psp1",
            "merchantAccountCode": "Acc",
            "merchantReference": "ref",
            "amount": {"value": 1130, "currency": "EUR"},
            "eventCode": "AUTHORISATION",
            "success": "true",
        }
        signed = b"psp1::Acc:ref:1130:EUR:AUTHORISATION:true"
        s = b64(mac(bytes.fromhex(HEX_SECRET.decode()), signed)).decode()
        tree = {"notificationItems": [{"NotificationRequestItem": item | {"additionalData": {"hmacSignature": s}}}]}
        return Delivery([], json.dumps(tree).encode(), HEX_SECRET, covered=False)
    assert slug == "sns"
    message = {
        "Type": "Notification",
        "MessageId": "m-1",
        "TopicArn": "arn:aws:sns:us-east-1:1:t",
        "Subject": "S",
        "Message": 'Hällo\n"x"',
        "Timestamp": iso(now) + ".000Z",
        "SignatureVersion": "2",
    }
    lines = "".join(
        f"{key}\n{message[key]}\n" for key in ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
    )
    s = b64(keys().rsa.sign(lines.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    return Delivery([], json.dumps(message | {"Signature": s}).encode(), keys().rsa_certificate, covered=False)


MAKERS: dict[str, Callable[[str, float, bytes], Delivery]] = {
    **dict.fromkeys(BODY_ONLY, _body_only),
    **dict.fromkeys(IN_LIST, _in_list),
    **dict.fromkeys(OWN_HEADER, _own_header),
    **dict.fromkeys(STANDARD, _standard),
    **dict.fromkeys(("hubspot_v1", "hubspot_v2", "hubspot_v3"), _hubspot),
    **dict.fromkeys(("twilio", "twilio_sha256", "mailchimp", "plivo", "braintree"), _form),
    **dict.fromkeys(("mailgun", "microsoft_graph", "adyen_payments", "sns"), _json_body),
    **dict.fromkeys(("fusionauth", "fusionauth_public_key", "kinde", "livekit", "messagebird"), _token),
    **dict.fromkeys(("monday", "netlify", "plaid", "vonage"), _token),
    **dict.fromkeys(("discord", "telnyx", "ebay", "sendgrid", "paypal", "wise", "standard_webhooks_v1a"), _public_key),
    "linkedin": _linkedin,
    "graphcms": _graphcms,
    "mercado_pago": _mercado_pago,
    "contentful": _contentful,
    "twitch": _twitch,
    "box": _box,
    "sinch": _sinch,
    "square": _square,
    "trello": _trello,
}


def make(slug: str, now: float = NOW, body: bytes = BODY) -> Delivery:
    """A genuine delivery of ``slug``, signed at ``now``."""
    return MAKERS[slug](slug, now, body)


def slugs(family: ModuleType) -> list[str]:
    """The providers of a family that sign."""
    return [provider.slug for provider in family.PROVIDERS if provider.scheme is not None]


def head_of(delivery: Delivery) -> RequestHead:
    """The head as the parser would give it."""
    lines = [b"%b: %b" % (name.encode(), value) for name, value in delivery.fields]
    names, values, repeated = index_lines(lines)
    path, question, query = delivery.target.partition(b"?")
    return RequestHead(
        method=delivery.method,
        target=delivery.target,
        minor=1,
        names=names,
        lines=lines,
        path=path,
        query=query if question else None,
        host=b"hooks.example.com",
        framing=Framing.LENGTH,
        content_length=len(delivery.body),
        keep_alive=True,
        expect_continue=False,
        values=values,
        repeated=repeated,
    )


def check_for(provider: Provider, *shown: bytes, tolerance_s: float | None = None) -> SignatureCheck:
    """The guard of a route with these secrets, named "0", "1", …"""
    assert provider.scheme is not None
    secrets = tuple(Secret(str(at), decode_secret(provider, text)) for at, text in enumerate(shown))
    return SignatureCheck(
        provider.scheme, secrets, tolerance_s, ORIGIN, TOPICS if provider.scheme.signs_for_all else ()
    )


def run(check: SignatureCheck, delivery: Delivery, now: float = NOW, cuts: Iterable[int] = ()) -> str | Reason:
    """The verdict on a delivery whose body arrives cut at ``cuts``."""
    verification = check.begin(head_of(delivery), now)
    if isinstance(verification, Reason):
        return verification
    places = [0, *sorted(cuts), len(delivery.body)]
    for start, end in itertools.pairwise(places):
        verification.update(delivery.body[start:end])
    return verification.finish()


def with_value(delivery: Delivery, header: str, *values: bytes) -> Delivery:
    """The delivery with other values of one header: none, one or several lines."""
    fields = [(name, value) for name, value in delivery.fields if name != header]
    return replace(delivery, fields=[*((header, value) for value in values), *fields])


MALFORMED = Reason.SIGNATURE_MALFORMED
MISSING = Reason.SIGNATURE_MISSING
MISMATCH = Reason.SIGNATURE_MISMATCH


def check_genuine(slug: str) -> None:
    """Accepted whole, byte by byte and in pieces, also beside other secrets, and empty where a body may be."""
    provider = PROVIDERS[slug]
    delivery = make(slug)
    check = check_for(provider, delivery.secret)
    size = len(delivery.body)
    for cuts in ((), range(size), (0, 0, size // 2), range(3, size, 7)):
        assert run(check, delivery, cuts=cuts) == "0"
    verification = check.begin(head_of(delivery), NOW)
    assert not isinstance(verification, Reason)
    assert verification.verify(delivery.body) == "0"
    empty = make(slug, body=b"")
    opening = provider.scheme.opening if provider.scheme is not None else b""
    assert run(check_for(provider, empty.secret), empty) == (MALFORMED if opening else "0")


def check_wrong(slug: str) -> None:
    """A flipped bit and another secret are refused; two secrets are both tried and the right one is named."""
    provider = PROVIDERS[slug]
    delivery = make(slug)
    other = other_secret(provider, delivery.secret)
    assert run(check_for(provider, other), delivery) is MISMATCH
    assert run(check_for(provider, other, delivery.secret), delivery) == "1"
    assert run(check_for(provider, delivery.secret, other), delivery) == "0"
    if delivery.covered:
        check = check_for(provider, delivery.secret)
        for at in (0, len(delivery.body) // 2, len(delivery.body) - 1):
            body = bytearray(delivery.body)
            body[at] ^= 1
            assert run(check, replace(delivery, body=bytes(body))) in (MISMATCH, MALFORMED, MISSING)
        assert isinstance(run(check, replace(delivery, body=delivery.body[:-1])), Reason)
        assert isinstance(run(check, replace(delivery, body=delivery.body + b"x")), Reason)


def check_header(slug: str) -> None:
    """The signature's header: missing, empty, twice, cut, longer, with a wrong beginning, in another case."""
    delivery = make(slug)
    check = check_for(PROVIDERS[slug], delivery.secret)
    scheme = PROVIDERS[slug].scheme
    assert scheme is not None
    header, value = delivery.fields[0]
    assert run(check, with_value(delivery, header)) is MISSING
    assert run(check, with_value(delivery, header, b"")) is MISSING
    assert run(check, with_value(delivery, header, value, value)) is MALFORMED
    assert run(check, with_value(delivery, header, b"", value)) is MALFORMED
    allowed = (MALFORMED, MISMATCH) if scheme.claims or scheme.method.value in ("ecdsa", "rsa") else (MALFORMED,)
    early = (*allowed, Reason.TIMESTAMP_MISSING)
    last = scheme.listing is not None and scheme.listing.signature is not None and slug in ("stripe", "graphcms")
    assert last or run(check, with_value(delivery, header, value[:-1])) in allowed
    any_key = scheme.listing is not None and scheme.listing.pair is not None and scheme.listing.signature is None
    assert any_key or run(check, with_value(delivery, header, b"!" + value)) in early
    assert run(check, with_value(delivery, header, value[: len(value) // 3])) in early
    for junk in (b"\xff\xfe", b"=", b",", b" ", b";", b"v1=", b"." * 3, b"a" * 4096):
        assert isinstance(run(check, with_value(delivery, header, junk)), Reason)
    if scheme.encoding is Encoding.HEX and not scheme.listing and not scheme.prefix and not scheme.claims:
        assert run(check, with_value(delivery, header, value.upper())) is MALFORMED
    if scheme.encoding is Encoding.HEX_UPPER:
        assert (
            run(check, with_value(delivery, header, scheme.prefix + value[len(scheme.prefix) :].lower())) is MALFORMED
        )
    if scheme.encoding is Encoding.HEX_ANY_CASE:
        upper = scheme.prefix + value[len(scheme.prefix) :].upper()
        assert run(check, with_value(delivery, header, upper)) == "0"


def check_time(slug: str) -> None:
    """Fresh up to the edge of the window, both ways, and not a second further; its header is read as strictly."""
    provider = PROVIDERS[slug]
    scheme = provider.scheme
    assert scheme is not None
    stamp = scheme.timestamp
    if stamp is None:
        return
    delivery = make(slug)
    tolerance = 120.0 if stamp.tolerance_s is None else stamp.tolerance_s
    check = check_for(provider, delivery.secret, tolerance_s=None if stamp.tolerance_s is not None else tolerance)
    edge = 1 if slug == "twitch" else 0  # its time has a fraction
    for now, verdict in (
        (NOW + tolerance, "0"),
        (NOW - tolerance + edge, "0"),
        (NOW + tolerance + 1, Reason.TIMESTAMP_TOO_OLD),
        (NOW - tolerance - 1, Reason.TIMESTAMP_IN_FUTURE),
    ):
        assert run(check, delivery, now) == verdict
    if delivery.stamp is None:
        return
    value = dict(delivery.fields)[delivery.stamp]
    assert run(check, with_value(delivery, delivery.stamp)) is Reason.TIMESTAMP_MISSING
    assert run(check, with_value(delivery, delivery.stamp, b"")) is Reason.TIMESTAMP_MISSING
    assert run(check, with_value(delivery, delivery.stamp, value, value)) is MALFORMED
    for junk in (b"+" + value, b"-1", b"1_0", b"NaN", b"0x10", b"9" * 40, b"\xd9\xa1", b"2024-13-01T00:00:00Z", b"now"):
        assert run(check, with_value(delivery, delivery.stamp, junk)) is MALFORMED
    if stamp.format in (TimeFormat.SECONDS, TimeFormat.MILLISECONDS):
        later = str(int(value) + 1).encode()
        assert run(check, with_value(delivery, delivery.stamp, later)) is MISMATCH


def other_secret(provider: Provider, shown: bytes) -> bytes:
    """Another valid secret of the same form."""
    assert provider.scheme is not None
    form = provider.scheme.secret.value
    if form == "public_key":
        pair = (
            rsa.generate_private_key(65537, 2048)
            if shown.partition(b":")[2].startswith(b"-----") or shown.startswith(b"-----")
            else ec.generate_private_key(ec.SECP256R1())
        )
        pem = pair.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return b"WEBHOOK7:" + pem if provider.scheme.two_part else pem
    if form.startswith("ed25519"):
        raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        return hexa(raw) if form.endswith("hex") else b64(raw)
    other = {"hex": b"aa" * 16, "base64": b64(b"other" * 5), "whsec": b64(b"other" * 5)}.get(form, b"another secret")
    return shown.partition(b":")[0] + b":" + other if provider.scheme.two_part else other
