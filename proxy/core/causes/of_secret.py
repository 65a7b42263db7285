"""The secret is at fault: blanks around it, a coding too much or too little, another one's, or no secret at all.

Each supposition is a way in which a secret is copied wrongly, at either side. Only names of secrets are given back.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Callable, Iterator

from proxy.core.causes.trial import Facts, Trial, cause, fitting, out_of_dates, undated
from proxy.core.policy import Route
from proxy.core.signing.proof import needs_public_keys
from proxy.core.signing.scheme import Method, Secret, SecretForm, decode_base64, decode_base64url, decode_hex

_BLANKS = b" \t\r\n\v\f\0"
_BOM = b"\xef\xbb\xbf"
_QUOTES = (b'"', b"'", b"`")
_WHSEC = b"whsec_"
_MAX_LINES = 16  # of a file that holds more than the secret
_MAX_OTHERS = 256  # secrets of other guards

#: How API keys begin that are often taken for signing secrets: the provider shows both on one page.
API_KEYS: tuple[tuple[bytes, str], ...] = (
    (b"sk_live_", "a secret API key of Stripe or a service like it"),
    (b"sk_test_", "a secret API key of Stripe or a service like it"),
    (b"rk_live_", "a restricted API key of Stripe"),
    (b"rk_test_", "a restricted API key of Stripe"),
    (b"pk_live_", "a publishable key"),
    (b"pk_test_", "a publishable key"),
    (b"xoxb-", "a bot token of Slack"),
    (b"xoxp-", "a user token of Slack"),
    (b"xapp-", "an app-level token of Slack"),
    (b"ghp_", "a personal access token of GitHub"),
    (b"gho_", "an OAuth token of GitHub"),
    (b"ghs_", "an installation token of GitHub"),
    (b"github_pat_", "a personal access token of GitHub"),
    (b"glpat-", "a personal access token of GitLab"),
    (b"SG.", "an API key of SendGrid"),
    (b"key-", "an API key of Mailgun"),
    (b"shpat_", "an access token of Shopify"),
    (b"AKIA", "an access key id of AWS"),
    (b"sk-", "an API key of OpenAI or a service like it"),
    (b"re_", "an API key of Resend"),
    (b"lin_api_", "an API key of Linear"),
    (b"EAAC", "an access token of Meta"),
    (b"-----BEGIN", "a key or certificate in PEM"),
    (b"eyJ", "a JSON Web Token"),
    (b"https://", "a URL"),
)

#: What a key may be instead, by how the provider shows its secret: each is tried.
Variants = Callable[[SecretForm, bytes], Iterator[bytes]]


def api_key(value: bytes) -> str | None:
    """What ``value`` looks like if it is no signing secret, by its first characters; None where nothing is odd."""
    return next((what for start, what in API_KEYS if value.startswith(start)), None)


def _keys(trial: Trial, variants: Variants) -> Iterator[Secret]:
    """The live secrets with their key replaced by each of its variants."""
    scheme = trial.scheme
    if scheme is None or not trial.keyed or scheme.key_digest is not None:
        return
    for secret in trial.secrets:
        key_id, key = scheme.split_key(secret.value)
        before = key_id + b":" if scheme.two_part else b""
        for variant in dict.fromkeys(variants(scheme.secret, key)):
            if variant and variant != key:
                yield Secret(secret.name, before + variant)


def _tried(variants: Variants) -> Callable[[Trial], Facts | None]:
    """The cause is that one of the live secrets fits with its key so changed."""

    def find(trial: Trial) -> Facts | None:
        # One by one: a token in a head without a body can only be judged so.
        return fitting(trial.fits([secret]) for secret in _keys(trial, variants))

    return find


def _texts(form: SecretForm, key: bytes) -> tuple[bytes, ...]:
    """How the text of a key looks at the provider."""
    if form is SecretForm.HEX:
        return (key.hex().encode("ascii"), key.hex().upper().encode("ascii"))
    if form is SecretForm.BASE64:
        return (b64encode(key),)
    if form in (SecretForm.WHSEC, SecretForm.WHSEC_OR_RAW):
        text = b64encode(key)
        return (_WHSEC + text, text)
    return (key,)


@cause(
    "secret_out_of_dates",
    "The secret {secret} made this signature, and its {when}.",
    "Mend its dates, or set the current secret at the provider.",
)
def _out_of_dates(trial: Trial) -> Facts | None:
    secrets = trial.check.secrets if trial.check is not None else ()
    return out_of_dates(secrets, trial.case.now, lambda secret: trial.fits([undated(secret)]) is not None)


@cause(
    "secret_blank_here",
    "Our secret {secret} begins or ends with a blank, a newline or a byte order mark, which the sender's has not.",
    "Write the file again without it: printf %s instead of echo.",
)
@_tried
def _blanks_here(_form: SecretForm, key: bytes) -> Iterator[bytes]:
    yield key.strip(_BLANKS)
    yield key.removeprefix(_BOM).strip(_BLANKS)


@cause(
    "secret_blank_there",
    "The sender's secret is {secret} with a newline or a blank at an end.",
    "Enter it at the provider again without it; a file that was made with echo has one.",
)
@_tried
def _blanks_there(form: SecretForm, key: bytes) -> Iterator[bytes]:
    for text in (key, *_texts(form, key)):
        for blank in (b"\n", b"\r\n", b" ", b"\r", b"\t"):
            yield text + blank
        yield b" " + text
        yield b"\n" + text
        yield _BOM + text


@cause(
    "secret_quoted",
    "The secret {secret} has quotation marks around it at one side, and they are taken as part of it.",
    "Write both from the same copy, without anything around it, and reload.",
)
@_tried
def _quoted(form: SecretForm, key: bytes) -> Iterator[bytes]:
    for text in (key, *_texts(form, key)):
        for mark in _QUOTES:
            yield mark + text + mark
            if len(text) > 2 and text.startswith(mark) and text.endswith(mark):
                yield text[1:-1]


@cause(
    "secret_several_lines",
    "The file of {secret} holds more than the secret: one of its lines, or what follows a '=', is the secret.",
    "Name a file that holds the secret alone.",
)
@_tried
def _several_lines(_form: SecretForm, key: bytes) -> Iterator[bytes]:
    lines = key.splitlines()
    if len(lines) > 1:
        yield from (line.strip(_BLANKS) for line in lines[:_MAX_LINES])
    name, sign, value = key.partition(b"=")
    if sign and name.replace(b"_", b"").isalnum():  # a line of an environment file
        yield value.strip(_BLANKS)
        yield value.strip(_BLANKS + b"\"'")


@cause(
    "secret_prefix",
    'The two sides disagree whether "whsec_" is part of the secret {secret}.',
    "Copy it from the provider again, with everything it shows.",
)
@_tried
def _prefix_here(form: SecretForm, key: bytes) -> Iterator[bytes]:
    if form is SecretForm.RAW:
        yield key.removeprefix(_WHSEC) if key.startswith(_WHSEC) else _WHSEC + key


@cause(
    "secret_not_decoded_there",
    "We decode the secret {secret}, and the sender uses its text as the key.",
    "If it is a sender of your own, decode the secret there; else name the provider that fits: see `hookward "
    "providers`.",
)
@_tried
def _taken_as_text(form: SecretForm, key: bytes) -> Iterator[bytes]:
    if form is SecretForm.RAW:
        return
    for text in _texts(form, key):
        yield text
        yield text.rstrip(b"=")
    if form is SecretForm.WHSEC_OR_RAW:
        yield _WHSEC + key


@cause(
    "secret_decoded_there",
    "We use the text of the secret {secret} as the key, and the sender decodes it from hex or base64 first.",
    'If it is a sender of your own, use the text there; in [scheme.NAME] set secret_encoding = "hex" or "base64".',
)
@_tried
def _decoded_there(_form: SecretForm, key: bytes) -> Iterator[bytes]:
    text = key.removeprefix(_WHSEC)
    for decode in (decode_hex, decode_base64, decode_base64url, _loose_base64):
        yield decode(text) or b""


def _loose_base64(text: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return None


@cause(
    "secret_of_another_guard",
    "The secret {secret} of the route {other} made this signature.",
    "Two secrets are mixed up: name the right file in each route, or correct the path at the provider.",
)
def _of_another_guard(trial: Trial) -> Facts | None:
    if not trial.keyed:
        return None
    for route_name, secret in _others(trial):
        if trial.fits([undated(secret)]) is not None:
            return {"secret": secret.name, "other": route_name}
    return None


def _others(trial: Trial) -> Iterator[tuple[str, Secret]]:
    """The secrets that are configured elsewhere, each with the route it belongs to."""
    ours = {secret.value for secret in trial.check.secrets} if trial.check is not None else set()
    count = 0
    for route in trial.case.routes:
        others = [secret for secret in _secrets_of(trial, route) if secret.value not in ours]
        yield from ((route.name, secret) for secret in others)
        count += len(others)
        if count > _MAX_OTHERS:
            return


def _secrets_of(trial: Trial, route: Route) -> Iterator[Secret]:
    signature, token = route.signature, route.token
    if signature is not None and route is not trial.route and not needs_public_keys(signature.scheme):
        yield from signature.secrets
    if token is not None:
        yield from token.secrets
    if route.verify_token is not None:
        yield Secret("verify_token", route.verify_token)


@cause(
    "secret_empty_there",
    "The sender signed with an empty secret.",
    "Set the secret at the sender: most often its variable is not set in the process that signs.",
)
def _empty_there(trial: Trial) -> Facts | None:
    scheme = trial.scheme
    if scheme is None or not trial.keyed or scheme.method is Method.HASH or scheme.two_part:
        return None
    # HMAC fills a short key with zeros (RFC 2104), so this is the empty key, which a ``Secret`` may not be.
    return {} if trial.fits([Secret("empty", b"\0")]) is not None else None


@cause(
    "secret_is_api_key",
    "Our secret {secret} looks like {what}, which signs nothing.",
    "Copy the signing secret from the page of the webhook at the provider; if the key was sent around, change it.",
    guess=True,
)
def _not_a_signing_secret(trial: Trial) -> Facts | None:
    for secret in trial.secrets if trial.keyed else ():
        what = api_key(secret.value)
        if what is not None:
            return {"secret": secret.name, "what": what}
    return None
