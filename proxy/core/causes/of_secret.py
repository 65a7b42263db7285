"""The secret is at fault: blanks around it, a coding too much or too little, another one's, or no secret at all.

Each supposition is a way in which people copy a secret wrongly, at either side. Only names of secrets are given back.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Callable, Iterator

from proxy.core.causes.trial import Facts, Trial, undated
from proxy.core.secrets import Secret
from proxy.core.signing.encodings import decode_base64, decode_base64url, decode_hex
from proxy.core.signing.extras import needs_public_keys
from proxy.core.signing.scheme import Method, SecretForm

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

Variants = Callable[[bytes], Iterator[bytes]]


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
        for variant in dict.fromkeys(variants(key)):
            if variant and variant != key:
                yield Secret(secret.name, before + variant)


def _try(trial: Trial, variants: Variants) -> Facts | None:
    # One by one: a token in a head without a body can only be judged so.
    for secret in _keys(trial, variants):
        if trial.fits([secret]) is not None:
            return {"secret": secret.name}
    return None


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


def _form(trial: Trial) -> SecretForm:
    return trial.scheme.secret if trial.scheme is not None else SecretForm.RAW


def blanks_here(trial: Trial) -> Facts | None:
    """Our secret has blanks at an end, and the sender's has not."""

    def variants(key: bytes) -> Iterator[bytes]:
        yield key.strip(_BLANKS)
        yield key.removeprefix(_BOM).strip(_BLANKS)

    return _try(trial, variants)


def blanks_there(trial: Trial) -> Facts | None:
    """The sender's secret has a newline or blank at an end, and ours has not."""

    def variants(key: bytes) -> Iterator[bytes]:
        for text in (key, *_texts(_form(trial), key)):
            for blank in (b"\n", b"\r\n", b" ", b"\r", b"\t"):
                yield text + blank
            yield b" " + text
            yield b"\n" + text
            yield _BOM + text

    return _try(trial, variants)


def several_lines(trial: Trial) -> Facts | None:
    """Our file holds more than the secret, and one of its lines is the sender's."""

    def variants(key: bytes) -> Iterator[bytes]:
        lines = key.splitlines()
        if len(lines) > 1:
            yield from (line.strip(_BLANKS) for line in lines[:_MAX_LINES])
        name, sign, value = key.partition(b"=")
        if sign and name.replace(b"_", b"").isalnum():  # a line of an environment file
            yield value.strip(_BLANKS)
            yield value.strip(_BLANKS + b"\"'")

    return _try(trial, variants)


def quoted(trial: Trial) -> Facts | None:
    """Quotation marks were taken as part of the secret at one side."""

    def variants(key: bytes) -> Iterator[bytes]:
        for text in (key, *_texts(_form(trial), key)):
            for mark in _QUOTES:
                yield mark + text + mark
                if len(text) > 2 and text.startswith(mark) and text.endswith(mark):
                    yield text[1:-1]

    return _try(trial, variants)


def prefix_here(trial: Trial) -> Facts | None:
    """The sender's key is our text without, or with, ``whsec_``; nothing is decoded."""

    def variants(key: bytes) -> Iterator[bytes]:
        if _form(trial) is SecretForm.RAW:
            yield key.removeprefix(_WHSEC) if key.startswith(_WHSEC) else _WHSEC + key

    return _try(trial, variants)


def taken_as_text(trial: Trial) -> Facts | None:
    """We decode the secret, and the sender uses its text as it stands."""

    def variants(key: bytes) -> Iterator[bytes]:
        form = _form(trial)
        if form is SecretForm.RAW:
            return
        for text in _texts(form, key):
            yield text
            yield text.rstrip(b"=")
        if form is SecretForm.WHSEC_OR_RAW:
            yield _WHSEC + key

    return _try(trial, variants)


def decoded_there(trial: Trial) -> Facts | None:
    """We use the secret's text as it stands, and the sender decodes it."""

    def variants(key: bytes) -> Iterator[bytes]:
        text = key.removeprefix(_WHSEC)
        for decode in (decode_hex, decode_base64, decode_base64url, _loose_base64):
            yield decode(text) or b""

    return _try(trial, variants)


def _loose_base64(text: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return None


def out_of_dates(trial: Trial) -> Facts | None:
    """A secret of this route fits, and its dates are over or to come."""
    if trial.check is None:
        return None
    for secret in trial.check.secrets:
        if not secret.live(trial.case.now) and trial.fits([undated(secret)]) is not None:
            over = secret.not_after is not None and secret.not_after <= trial.case.now
            return {"secret": secret.name, "when": "not_after is over" if over else "not_before is still to come"}
    return None


def of_another_guard(trial: Trial) -> Facts | None:
    """A secret of another route, or of another guard of this one, fits."""
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
        signature = () if route.signature is None or route is trial.route else route.signature.secrets
        if route.signature is not None and needs_public_keys(route.signature.scheme):
            signature = ()
        token = () if route.token is None else route.token.secrets
        for secret in (*signature, *token):
            if secret.value not in ours:
                count += 1
                yield route.name, secret
        if route.verify_token is not None and route.verify_token not in ours:
            yield route.name, Secret("verify_token", route.verify_token)
        if count > _MAX_OTHERS:
            return


def empty_there(trial: Trial) -> Facts | None:
    """The sender signs with an empty secret: a variable that is not set."""
    scheme = trial.scheme
    if scheme is None or not trial.keyed or scheme.method is Method.HASH or scheme.two_part:
        return None
    # HMAC fills a short key with zeros (RFC 2104), so this is the empty key, which a ``Secret`` may not be.
    return {} if trial.fits([Secret("empty", b"\0")]) is not None else None


def not_a_signing_secret(trial: Trial) -> Facts | None:
    """Our secret looks like something else that the provider shows. A guess by its first characters."""
    for secret in trial.secrets if trial.keyed else ():
        what = api_key(secret.value)
        if what is not None:
            return {"secret": secret.name, "what": what}
    return None
