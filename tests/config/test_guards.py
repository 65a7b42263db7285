from __future__ import annotations

import pytest

from proxy.config.describe import describe
from proxy.config.guards import show_instant, slug_of
from proxy.core.signing.proof import TokenKind
from tests.config.loading import SECRET, Workplace, route
from tests.deliveries import keys

GITHUB = 'provider = "github"\n'


def test_a_provider_with_secrets(place: Workplace) -> None:
    place.secret("older", b"x")
    place.environ.update(OLD="old", CREDENTIALS_DIRECTORY=str(place.folder))
    secrets = """secrets = [
        { name = "new", from = "file:github.secret", not_before = 2026-09-01 },
        "env:OLD",
        { from = "cred:older", not_after = 2027-01-01T00:00:00Z },
    ]"""
    one = place.routes(route(GITHUB + secrets))["a"]
    assert one.signature is not None
    assert one.token is None
    assert one.provider == "github"
    assert [(s.name, s.value) for s in one.signature.secrets] == [
        ("new", SECRET),
        ("secret-2", b"old"),
        ("secret-3", b"x"),
    ]
    assert one.signature.secrets[0].not_before is not None
    assert one.signature.secrets[2].not_after is not None
    assert one.event_header == b"x-github-event"


@pytest.mark.parametrize("name", ["standard_webhooks", "standard-webhooks", "Standard-Webhooks"])
def test_dashes_and_underscores_are_equal(place: Workplace, name: str) -> None:
    place.secret("whsec", b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    one = place.routes(route(f'provider = "{name}"\nsecrets = "file:whsec"\n'))["a"]
    assert one.provider == "standard_webhooks"
    assert slug_of(name) == "standard_webhooks"


def test_a_provider_of_ones_own(place: Workplace) -> None:
    text = route('provider = "my-acme"\nsecrets = "file:github.secret"\nevents = ["x"]\n')
    scheme = '[scheme.my_acme]\nheader = "X-Acme"\nprefix = "sha256="\nevent_header = "X-Event"\n'
    one = place.routes(text + scheme)["a"]
    assert one.signature is not None
    assert one.provider == "my_acme"
    assert one.event_header == b"x-event"


def test_mistakes_in_a_provider_of_ones_own_have_their_lines(place: Workplace) -> None:
    text = route('provider = "acme"\nsecrets = "file:github.secret"\n')
    scheme = """[scheme.acme]
header = "X-Acme"
algorithm = "md4"
[scheme.github]
header = "X-Acme"
required = { "a b" = "x" }
"""
    problems = place.problems(text + scheme)
    assert [p.where for p in problems] == [
        "hookward.toml:8: scheme.acme.algorithm",
        "hookward.toml:9: scheme.github",
        "hookward.toml:11: scheme.github.required",
    ]
    assert "md4" in problems[0].what


def test_what_is_missing_in_a_provider_of_ones_own_has_the_line_of_its_table(place: Workplace) -> None:
    text = route('provider = "acme"\nsecrets = "file:github.secret"\n[scheme.acme]\n')
    assert place.places(text) == ["hookward.toml:6: scheme.acme"]


@pytest.mark.parametrize(
    ("table", "kind", "name"),
    [
        ('query = "token"', TokenKind.QUERY, b"token"),
        ('header = "X-Gitlab-Token"', TokenKind.HEADER, b"x-gitlab-token"),
        ("bearer = true", TokenKind.BEARER, b""),
    ],
)
def test_tokens(place: Workplace, table: str, kind: TokenKind, name: bytes) -> None:
    one = place.routes(route(f'token = {{ {table}, secrets = ["file:token"] }}'))["a"]
    assert one.token is not None
    assert (one.token.kind, one.token.name, one.provider) == (kind, name, "token")
    assert [(s.name, s.value) for s in one.token.secrets] == [("token-1", b"t0ken-4711")]


def test_basic(place: Workplace) -> None:
    one = place.routes(route('token = { basic = true, secrets = ["file:basic"] }'))["a"]
    assert one.token is not None
    assert one.token.kind is TokenKind.BASIC


def test_a_provider_that_sends_a_token(place: Workplace) -> None:
    one = place.routes(route('provider = "gitlab"\nsecrets = "file:token"\nevents = ["Push Hook"]\n'))["a"]
    assert one.signature is None
    assert one.token is not None
    assert (one.token.name, one.provider) == (b"x-gitlab-token", "gitlab")


def test_signature_and_token_and_addresses_together(place: Workplace) -> None:
    text = (
        GITHUB
        + 'secrets = "file:github.secret"\ntoken = { query = "t", secrets = "file:token" }\nallow = "10.0.0.0/8"\n'
    )
    one = place.routes(route(text))["a"]
    assert one.signature is not None
    assert one.token is not None
    assert one.allow is not None
    assert one.provider == "github"


def test_a_scheme_that_signs_the_url(place: Workplace) -> None:
    text = 'provider = "square"\nsecrets = "file:github.secret"\n'
    one = place.routes(route(text + 'public_url = "https://hooks.example.com"\n'))["a"]
    assert one.signature is not None
    assert one.signature.public_url == "https://hooks.example.com"
    [problem] = place.problems(route(text))
    assert problem.where == "hookward.toml:4: route.a.provider"
    assert 'public_url = "https://hooks.example.com"' in problem.mend


def test_a_scheme_of_ones_own_whose_url_runs_into_the_body(place: Workplace) -> None:
    text = route('provider = "acme"\nsecrets = "file:github.secret"\npublic_url = "https://hooks.example.com{}"\n')
    scheme = '[scheme.acme]\nheader = "X-Acme"\nsigned = "{url}{body}"\n'
    [problem] = place.problems(text.replace("{}", "") + scheme)
    assert problem.where == "hookward.toml:6: route.a.public_url"
    assert "{url}{body}" in problem.what
    assert "/in" in problem.mend
    assert place.problems(text.replace("{}", "/in") + scheme) == []


SNS = 'provider = "sns"\nsecrets = "file:certificate"\n'
TOPIC = "arn:aws:sns:eu-west-1:123456789012:orders"


def test_a_key_that_signs_for_everybody_needs_topics(place: Workplace) -> None:
    place.secret("certificate", keys().rsa_certificate)
    text = f'topics = ["{TOPIC}", "arn:aws-cn:sns:cn-north-1:123456789012:a.fifo"]\n'
    loaded = place.load(route(SNS + text))
    [one] = loaded.policy.routes
    assert one.signature is not None
    assert one.signature.topics == (TOPIC, "arn:aws-cn:sns:cn-north-1:123456789012:a.fifo")
    assert f"of {TOPIC}, " in describe(loaded)
    for alias in ("sns", "amazon-sns", "aws_sns"):
        [problem] = place.problems(route(SNS.replace('"sns"', f'"{alias}"')))
        assert problem.where == "hookward.toml:4: route.a.provider"
        assert "anybody's topic would pass" in problem.what
        assert 'set topics = ["arn:aws:sns:' in problem.mend
    assert place.problems(route(SNS + "topics = []\n")) != []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('topics = ["arn:aws:sns:eu-west-1:123456789012:*"]', "no wildcards"),
        ('topics = ["orders"]', "not the ARN of a topic"),
        ('topics = ["arn:aws:sqs:eu-west-1:123456789012:orders"]', "not the ARN of a topic"),
    ],
)
def test_a_topic_is_a_whole_arn(place: Workplace, text: str, what: str) -> None:
    place.secret("certificate", keys().rsa_certificate)
    assert [what in problem.what for problem in place.problems(route(SNS + text + "\n"))] == [True]


def test_topics_of_no_topic(place: Workplace) -> None:
    loaded = place.load(route(f'{GITHUB}secrets = "file:github.secret"\ntopics = ["{TOPIC}"]\n'))
    assert any("6: route.a.topics: `topics` has no effect" in warning for warning in loaded.settings.warnings)
    [problem] = place.problems(route(f"allow = 'all'\ntopics = ['{TOPIC}']\n"))
    assert "without a provider" in problem.what


def test_tolerance(place: Workplace) -> None:
    one = place.routes(route('provider = "slack"\nsecrets = "file:github.secret"\ntolerance = "60s"\n'))["a"]
    assert one.signature is not None
    assert one.signature.tolerance_s == 60.0


BAD = [
    (GITHUB, "4: route.a.provider", "no usable secret", "--secret-file"),
    (GITHUB + "secrets = []", "4: route.a.provider", "no usable secret", "--secret-env"),
    (
        'provider = "githob"\nsecrets = "file:token"',
        "4: route.a.provider",
        "no provider 'githob'",
        "did you mean 'github'",
    ),
    ('provider = "zzzz"\nsecrets = "file:token"', "4: route.a.provider", "no provider 'zzzz'", "hookward providers"),
    (GITHUB + 'secrets = "file:none"', "5: route.a.secrets", "does not exist", "mend the path"),
    ('provider = "stripe"\nsecrets = "file:none.secret"', "5: route.a.secrets", "does not exist", "what Stripe shows"),
    (GITHUB + 'secrets = ["file:empty"]', "5: route.a.secrets[0]", "empty", "hookward gen-secret github --out"),
    (GITHUB + 'secrets = ["env:NONE"]', "5: route.a.secrets[0]", "no environment variable NONE is set", "set it"),
    (GITHUB + "secrets = [{ name = 'x' }]", "5: route.a.secrets[0]", "does not say where", "from ="),
    (
        GITHUB + "secrets = [{ from = 'file:token', not_after = 2026-09-30 }]",
        "5: route.a.secrets[0]",
        "expired",
        "current",
    ),
    (
        GITHUB + "secrets = [{ from = 'file:token', not_before = 2026-10-02 }]",
        "5: route.a.secrets[0]",
        "not yet",
        "current",
    ),
    (
        GITHUB + "secrets = [{ from = 'file:token', not_before = 2026-12-01, not_after = 2026-11-01 }]",
        "5: route.a.secrets[0].not_after",
        "ends before it begins",
        "not_before",
    ),
    (
        GITHUB + "secrets = [{ name='x', from='file:token' }, { name='x', from='file:basic' }]",
        "5: route.a.secrets[1].name",
        "is taken",
        "another",
    ),
    (
        GITHUB
        + "secrets = [{ name='x', from='file:token' }]\n"
        + "token = { query='t', secrets=[{ name='x', from='file:token' }] }",
        "5: route.a.secrets[0].name",
        "is taken",
        "another",
    ),
    ('provider = "standard_webhooks"\nsecrets = "file:basic"', "5: route.a.secrets", "not written in", "copy it"),
    (
        'provider = "gitlab"\nsecrets = "file:token"\ntoken = { query = "t", secrets = "file:token" }',
        "6: route.a.token",
        "one token",
        "remove",
    ),
    ("token = { secrets = 'file:token' }", "4: route.a.token", "does not say where", "exactly one"),
    (
        "token = { query = 't', bearer = true, secrets = 'file:token' }",
        "4: route.a.token",
        "query and bearer",
        "exactly one",
    ),
    ("token = { query = 't' }", "4: route.a.token", "no usable secret", "--token-file"),
    ("token = { basic = true, secrets = 'file:token' }", "4: route.a.token", "user:password", "user:password"),
    ("allow = 'all'\nsecrets = 'file:token'", "5: route.a.secrets", "without a provider", "provider ="),
    ("allow = 'all'\npublic_url = 'https://a'", "5: route.a.public_url", "without a provider", "provider ="),
    ("allow = 'all'\ntolerance = '5s'", "5: route.a.tolerance", "without a provider", "provider ="),
]


@pytest.mark.parametrize(("text", "where", "what", "mend"), BAD, ids=[f"{i}-{b[2]}" for i, b in enumerate(BAD)])
def test_mistakes(place: Workplace, text: str, where: str, what: str, mend: str) -> None:
    place.secret("empty", b"\n")
    problems = place.problems(route(text))
    [problem] = problems
    assert problem.where == f"hookward.toml:{where}"
    assert what in problem.what
    assert mend in problem.mend
    assert "t0ken" not in str(problems)
    assert "pass-7731" not in str(problems)


def test_warnings(place: Workplace) -> None:
    place.secret("old", b"x\n", 0o644)
    text = route(
        GITHUB + "secrets = ['file:old', { name = 'gone', from = 'file:token', not_after = 2026-09-30 }, "
        "{ name = 'soon', from = 'file:token', not_before = 2026-11-01T12:00:00Z }]"
    )
    warnings = "\n".join(place.load(text).settings.warnings)
    assert "route.a.secrets[0]: one trailing newline was removed" in warnings
    assert "mode 0644" in warnings
    assert "'gone' expired on 2026-09-30" in warnings
    assert "'soon' matches nothing before 2026-11-01 12:00:00" in warnings


def test_default_names_avoid_given_ones(place: Workplace) -> None:
    text = route(GITHUB + "secrets = [{ name = 'secret-2', from = 'file:token' }, 'file:basic']")
    one = place.routes(text)["a"]
    assert one.signature is not None
    assert [secret.name for secret in one.signature.secrets] == ["secret-2", "secret-3"]


def test_a_token_of_the_endpoint_check(place: Workplace) -> None:
    text = 'provider = "whatsapp"\nsecrets = "file:github.secret"\nhandshake = "answer"\nverify_token = "file:token"\n'
    one = place.routes(route(text))["a"]
    assert one.verify_token == b"t0ken-4711"
    assert one.handshake == "answer"
    assert "t0ken" not in repr(one)


def test_dates_are_shown_in_utc() -> None:
    assert show_instant(0) == "1970-01-01"
    assert show_instant(3601) == "1970-01-01 01:00:01"
