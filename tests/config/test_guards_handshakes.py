"""What the configuration asks of ``handshake`` and ``verify_token``, and what it says about them."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.config.describe import describe
from proxy.config.problems import rule_of
from proxy.core.schemes import PROVIDERS
from tests.config.loading import ENDS, Workplace


def route(provider: str, text: str, *, path: str = "/in") -> str:
    return f'{ENDS}[route.a]\npath = "{path}"\nprovider = "{provider}"\nsecrets = "file:token"\n{text}\n'


@pytest.mark.parametrize("mode", ["forward", "answer", "refuse"])
def test_the_route_has_the_providers_check(place: Workplace, mode: str) -> None:
    one = place.routes(route("dropbox", f'handshake = "{mode}"'))["a"]
    assert one.endpoint_check is PROVIDERS["dropbox"].handshake
    assert one.handshake == mode


def test_a_header_that_a_check_is_known_by_cannot_be_stripped(place: Workplace) -> None:
    one = place.routes(route("worldline", ""))["a"]
    assert b"x-gcs-webhooks-endpoint-verification" in one.guarded_fields


ANSWER = 'handshake = "answer"'
WORD = '\nverify_token = "file:token"'


@pytest.mark.parametrize(
    ("provider", "text", "what", "mend"),
    [
        ("github", ANSWER, "GitHub has no endpoint check", "leave `handshake` out"),
        ("asana", ANSWER, "only the application can answer the endpoint check of Asana: it hands over", '"forward"'),
        ("whatsapp", ANSWER, "needs the token that is configured there", "--verify-token-file"),
        ("onfleet", 'handshake = "anser"', "none of", "'answer'"),
    ],
)
def test_mistakes(place: Workplace, provider: str, text: str, what: str, mend: str) -> None:
    place.secret("token", b"00ff")
    [problem] = place.problems(route(provider, text))
    assert problem.where == "hookward.toml:7: route.a.handshake"
    assert what in problem.what
    assert mend in problem.mend


def test_ebay_needs_its_token_and_its_url(place: Workplace) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    place.secret("token", key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert "needs the token" in place.problems(route("ebay", ANSWER))[0].what
    place.secret("word", b"verify-4711")
    word = '\nverify_token = "file:word"'
    [problem] = place.problems(route("ebay", ANSWER + word))
    assert "made with the endpoint's URL" in problem.what
    assert place.problems(route("ebay", ANSWER + word + '\npublic_url = "https://hooks.example.com"')) == []
    assert place.problems(route("ebay", 'handshake = "forward"')) == []


@pytest.mark.parametrize(("text", "told"), [(WORD, True), ("", False)])
def test_a_token_without_a_use_is_said(place: Workplace, text: str, *, told: bool) -> None:
    warnings = place.load(route("github", text)).settings.warnings
    assert any("no endpoint check with a token" in warning for warning in warnings) is told
    assert not any("verify_token" in warning for warning in place.load(route("whatsapp", WORD)).settings.warnings)


@pytest.mark.parametrize(
    ("provider", "text", "path", "told"),
    [
        ("dropbox", "", "/", True),
        ("dropbox", "", "/in", False),
        ("dropbox", ANSWER, "/", False),
        ("dropbox", 'handshake = "refuse"', "/", False),
        ("whatsapp", "", "/", True),
        ("whatsapp", WORD, "/", False),
        ("slack", "", "/", False),
        ("okta", "", "/", False),
    ],
)
def test_a_check_at_the_root_alone_is_said(
    place: Workplace, provider: str, text: str, path: str, *, told: bool
) -> None:
    warnings = place.load(route(provider, text, path=path)).settings.warnings
    assert any("at the route's own path alone" in warning for warning in warnings) is told


@pytest.mark.parametrize(
    ("provider", "text", "line"),
    [
        ("dropbox", "", "The provider's endpoint check (GET ?challenge=) is passed on unsigned, at this path alone."),
        ("okta", "", "(GET x-okta-verification-challenge:) is passed on with the token alone."),
        ("dropbox", 'handshake = "refuse"', "The provider's endpoint check (GET ?challenge=) is refused."),
        ("whatsapp", WORD, "is passed on if its token is right."),
        ("slack", ANSWER, "The provider's endpoint check is answered here."),
    ],
)
def test_it_is_described(place: Workplace, provider: str, text: str, line: str) -> None:
    assert any(one.endswith(line) for one in describe(place.load(route(provider, text))).splitlines())


@pytest.mark.parametrize("provider", ["slack", "github"])
def test_what_is_signed_or_absent_is_not_described(place: Workplace, provider: str) -> None:
    assert "endpoint check" not in describe(place.load(route(provider, "")))


@pytest.mark.parametrize(
    ("mode", "other", "told"),
    [
        ("forward", "github", True),
        ("answer", "github", True),
        ("refuse", "github", False),
        ("forward", "linkedin", False),
        ("forward", "zoom", False),
        ("forward", "gitlab", False),
    ],
)
def test_a_key_that_signs_challenges_is_no_other_routes(place: Workplace, mode: str, other: str, *, told: bool) -> None:
    text = route("twitter", f'handshake = "{mode}"')
    text += f'[route.b]\npath = "/b"\nprovider = "{other}"\nsecrets = "file:token"\n'
    warnings = place.load(text).settings.warnings
    assert any(rule_of(one) == "H111" and "the secret of route 'b'" in one for one in warnings) is told
    place.secret("other", b"another secret")
    apart = text.replace('"file:token"', '"file:other"', 1)
    assert not any(rule_of(one) == "H111" for one in place.load(apart).settings.warnings)
