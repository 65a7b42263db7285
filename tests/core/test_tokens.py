"""Tokens: each kind's right, wrong, missing, doubled and malformed form; and the target without them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.signing import proof
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.http1 import Framing, RequestHead
from proxy.reasons import Reason

NOW = 1_700_000_000.0
VALUE = b"s3cret-\xc3\xa4"
MISSING = Reason.TOKEN_MISSING
MISMATCH = Reason.TOKEN_MISMATCH
FAILED = Reason.BASIC_AUTH_FAILED


def head(target: bytes = b"/hook", *fields: tuple[bytes, bytes]) -> RequestHead:
    path, mark, query = target.partition(b"?")
    names = [name for name, _ in fields]
    return RequestHead(
        method=b"POST",
        target=target,
        minor=1,
        names=[name.lower() for name in names],
        lines=[b"%b: %b" % pair for pair in fields],
        path=path,
        query=query if mark else None,
        host=b"example.com",
        framing=Framing.NONE,
        content_length=None,
        keep_alive=True,
        expect_continue=False,
        values=dict(reversed(fields)),
        repeated=frozenset(name for name in names if names.count(name) > 1),
    )


def check(kind: TokenKind, name: bytes, *values: bytes, **dates: Any) -> TokenCheck:
    return TokenCheck(kind, name, tuple(Secret(f"key{n}", value, **dates) for n, value in enumerate(values)))


QUERY = check(TokenKind.QUERY, b"token", VALUE)
HEADER = check(TokenKind.HEADER, b"x-gitlab-token", VALUE)
BEARER = check(TokenKind.BEARER, b"", VALUE)
BASIC = check(TokenKind.BASIC, b"", b"user:pass:word")


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (b"/hook?token=s3cret-%C3%A4", "key0"),
        (b"/hook?token=s3cret-%c3%a4", "key0"),
        (b"/hook?token=%733cret%2d%C3%A4", "key0"),
        (b"/hook?token=s3cret-\xc3\xa4", "key0"),
        (b"/hook?a=1&token=s3cret-%C3%A4&b=2", "key0"),
        (b"/hook?%74oken=s3cret-%C3%A4", "key0"),
        (b"/hook", MISSING),
        (b"/hook?", MISSING),
        (b"/hook?a=1", MISSING),
        (b"/hook?token", MISSING),
        (b"/hook?token=", MISSING),
        (b"/hook?Token=s3cret-%C3%A4", MISSING),
        (b"/hook?xtoken=s3cret-%C3%A4", MISSING),
        (b"/hook?a=1;token=s3cret-%C3%A4", MISSING),
        (b"/hook?token=s3cret-%25C3%25A4", MISMATCH),
        (b"/hook?token=s3cret-%C3%A4%00", MISMATCH),
        (b"/hook?token=s3cret-%C3", MISMATCH),
        (b"/hook?token=s3cret-%E4", MISMATCH),
        (b"/hook?token=s3cret-%zz", MISMATCH),
        (b"/hook?token==s3cret-%C3%A4", MISMATCH),
        (b"/hook?token=+s3cret-%C3%A4", MISMATCH),
        (b"/hook?token=S3CRET-%C3%A4", MISMATCH),
        (b"/hook?token=s3cret-%C3%A4;a=1", MISMATCH),
        (b"/hook?token=s3cret-%C3%A4&token=s3cret-%C3%A4", MISMATCH),
        (b"/hook?token=s3cret-%C3%A4&token", MISMATCH),
        (b"/hook?token=s3cret-%C3%A4&%74oken=x", MISMATCH),
        (b"/hook?token=&token=s3cret-%C3%A4", MISMATCH),
    ],
)
def test_query(target, answer):
    assert QUERY.check(head(target), NOW) == answer


def test_a_plus_is_no_space():
    assert check(TokenKind.QUERY, b"k", b"a+b").check(head(b"/?k=a+b"), NOW) == "key0"
    assert check(TokenKind.QUERY, b"k", b"a b").check(head(b"/?k=a+b"), NOW) is MISMATCH
    assert check(TokenKind.QUERY, b"k", b"a b").check(head(b"/?k=a%20b"), NOW) == "key0"


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([VALUE], "key0"),
        ([], MISSING),
        ([b""], MISSING),
        ([VALUE + b" "], MISMATCH),
        ([VALUE[:-1]], MISMATCH),
        ([VALUE.upper()], MISMATCH),
        ([b"\xff"], MISMATCH),
        ([VALUE, VALUE], MISMATCH),
        ([VALUE, b"x"], MISMATCH),
        ([b"", VALUE], MISMATCH),
        ([VALUE + b", " + VALUE], MISMATCH),
    ],
)
def test_header(values, answer):
    request = head(b"/hook", *((b"x-gitlab-token", value) for value in values))
    assert HEADER.check(request, NOW) == answer


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([b"Bearer " + VALUE], "key0"),
        ([b"bearer " + VALUE], "key0"),
        ([b"BEARER   " + VALUE], "key0"),
        ([], MISSING),
        ([b""], MISSING),
        ([b"Bearer"], MISSING),
        ([b"Bearer  "], MISSING),
        ([VALUE], MISSING),
        ([b"Basic dTpw"], MISSING),
        ([b"Bearer:" + VALUE], MISSING),
        ([b"Bearer\t" + VALUE], MISSING),
        ([b"Bearer " + VALUE + b" x"], MISMATCH),
        ([b"Bearer x"], MISMATCH),
        ([b"Bearer Bearer " + VALUE], MISMATCH),
        ([b"Bearer " + VALUE, b"Bearer x"], MISMATCH),
    ],
)
def test_bearer(values, answer):
    request = head(b"/hook", *((b"authorization", value) for value in values))
    assert BEARER.check(request, NOW) == answer


RIGHT = b64encode(b"user:pass:word")


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([b"Basic " + RIGHT], "key0"),
        ([b"basic " + RIGHT], "key0"),
        ([], FAILED),
        ([b""], FAILED),
        ([b"Basic"], FAILED),
        ([b"Basic ="], FAILED),
        ([b"Bearer " + RIGHT], FAILED),
        ([b"Basic user:pass:word"], FAILED),
        ([b"Basic " + b64encode(b"user:pass")], FAILED),
        ([b"Basic " + b64encode(b"User:pass:word")], FAILED),
        ([b"Basic " + b64encode(b"user:pass:word\n")], FAILED),
        ([b"Basic " + RIGHT.rstrip(b"=")], FAILED),
        ([b"Basic " + RIGHT + b"="], FAILED),
        ([b"Basic " + RIGHT + b"AAAA"], FAILED),
        ([b"Basic =" + RIGHT], FAILED),
        ([b"Basic " + RIGHT[:4] + b"\n" + RIGHT[4:]], FAILED),
        ([b"Basic " + RIGHT[:4] + b"!" + RIGHT[4:]], FAILED),
        ([b"Basic \xff\xfe"], FAILED),
        ([b"Basic " + RIGHT, b"Basic " + RIGHT], FAILED),
    ],
)
def test_basic(values, answer):
    request = head(b"/hook", *((b"authorization", value) for value in values))
    assert BASIC.check(request, NOW) == answer


def test_another_field_may_carry_the_credentials():
    own = check(TokenKind.BEARER, b"x-authorization", VALUE)
    assert own.check(head(b"/", (b"x-authorization", b"Bearer " + VALUE)), NOW) == "key0"
    assert own.check(head(b"/", (b"authorization", b"Bearer " + VALUE)), NOW) is MISSING


def test_the_secret_that_matched_is_named():
    both = check(TokenKind.QUERY, b"t", b"new", b"old", b"new")
    assert both.check(head(b"/?t=new"), NOW) == "key0"
    assert both.check(head(b"/?t=old"), NOW) == "key1"


def test_only_live_secrets_count():
    rotated = TokenCheck(
        TokenKind.QUERY,
        b"t",
        (Secret("old", b"old", not_after=NOW), Secret("new", b"new"), Secret("next", b"next", not_before=NOW + 1)),
    )
    assert rotated.check(head(b"/?t=old"), NOW - 1) == "old"
    assert rotated.check(head(b"/?t=old"), NOW) is MISMATCH
    assert rotated.check(head(b"/?t=next"), NOW) is MISMATCH
    assert rotated.check(head(b"/?t=next"), NOW + 1) == "next"


def test_without_a_live_secret_everything_is_refused():
    for kind, request, refusal in (
        (TokenKind.QUERY, head(b"/?t=a:b"), MISMATCH),
        (TokenKind.HEADER, head(b"/", (b"t", b"a:b")), MISMATCH),
        (TokenKind.BASIC, head(b"/", (b"t", b"Basic " + b64encode(b"a:b"))), FAILED),
    ):
        assert check(kind, b"t", b"a:b").check(request, NOW) == "key0"
        assert check(kind, b"t", b"a:b", not_after=NOW).check(request, NOW) is refusal


@pytest.mark.parametrize("given_token", [b"first", b"third", b"none"])
def test_every_live_secret_is_compared_whichever_matches(monkeypatch, given_token):
    compared = []

    def spy(secret: bytes, sent: bytes) -> bool:
        compared.append((secret, sent))
        return secret == sent

    monkeypatch.setattr(proof, "compare_digest", spy)
    check(TokenKind.QUERY, b"t", b"first", b"second", b"third").check(head(b"/?t=" + given_token), NOW)
    assert compared == [(b"first", given_token), (b"second", given_token), (b"third", given_token)]


@pytest.mark.parametrize(
    ("target", "stripped"),
    [
        (b"/hook?token=x", b"/hook"),
        (b"/hook?token", b"/hook"),
        (b"/hook?token=", b"/hook"),
        (b"/hook?%74%6fken=x", b"/hook"),
        (b"/hook?token=a&token=b", b"/hook"),
        (b"/hook?token=a&a=1&%74oken=b", b"/hook?a=1"),
        (b"/hook?token=x&a=1", b"/hook?a=1"),
        (b"/hook?a=1&token=x", b"/hook?a=1"),
        (b"/hook?a=%2f%2F+b&token=x&c&d==&e=?", b"/hook?a=%2f%2F+b&c&d==&e=?"),
        (b"/hook?token=x?y=1&a", b"/hook?a"),
        (b"/hook?a=1&&token=x&b", b"/hook?a=1&&b"),
        (b"/hook?token=x&", b"/hook"),
        (b"/token=x?token=y", b"/token=x"),
        # without the key, byte for byte as it came
        (b"/hook", b"/hook"),
        (b"/hook?", b"/hook?"),
        (b"/hook?&", b"/hook?&"),
        (b"/hook?Token=x&tokens=y&a=token&;token=z", b"/hook?Token=x&tokens=y&a=token&;token=z"),
        (b"*", b"*"),
        (b"", b""),
    ],
)
def test_strip(target, stripped):
    assert QUERY.strip(target) == stripped


@pytest.mark.parametrize("other", [HEADER, BEARER, BASIC])
def test_only_a_query_token_changes_the_target(other):
    assert other.strip(b"/hook?token=x") == b"/hook?token=x"
    assert check(TokenKind.HEADER, b"token", VALUE).strip(b"/hook?token=x") == b"/hook?token=x"


def test_a_key_may_hold_any_byte():
    odd = check(TokenKind.QUERY, b"a&=b", VALUE)
    assert odd.check(head(b"/?a%26%3Db=" + quote_from_bytes(VALUE).encode()), NOW) == "key0"
    assert odd.strip(b"/?a%26%3Db=x&a&=b") == b"/?a&=b"


@given(
    st.binary(min_size=1, max_size=40), st.lists(st.sampled_from([b"a=1", b"b", b"", b"tok=x", b"c=%zz"]), max_size=4)
)
def test_any_quoted_secret_matches_and_is_stripped(value, others):
    pairs = [*others, b"token=" + quote_from_bytes(value, safe="").encode()]
    guard = check(TokenKind.QUERY, b"token", value)
    target = b"/hook?" + b"&".join(pairs)
    assert guard.check(head(target), NOW) == "key0"
    rest = b"&".join(others)
    assert guard.strip(target) == (b"/hook?" + rest if rest else b"/hook")


@given(st.binary(max_size=200) | st.from_regex(rb"/[a-z]{0,3}\?([token%746f=&]{0,40})", fullmatch=True))
def test_after_stripping_no_token_is_left(target):
    stripped = QUERY.strip(target)
    assert QUERY.strip(stripped) == stripped
    assert QUERY.check(head(stripped), NOW) is MISSING
    assert len(stripped) <= len(target)


@given(st.binary(max_size=200), st.lists(st.binary(max_size=200), max_size=3))
def test_nothing_that_is_sent_makes_a_check_raise_or_pass(query, values):
    for guard in (QUERY, HEADER, BEARER, BASIC):
        name = guard.name or b"authorization"
        fields = [(name, value) for value in values]
        for prefix in (b"", b"Bearer ", b"Basic "):
            request = head(b"/?token=" + query, *((name, prefix + value) for name, value in fields))
            assert isinstance(guard.check(request, NOW), Reason)


def test_huge_values_are_compared_and_refused():
    huge = b"%41" * 1_000_000
    assert QUERY.check(head(b"/?token=" + huge), NOW) is MISMATCH
    assert HEADER.check(head(b"/", (b"x-gitlab-token", huge)), NOW) is MISMATCH
    assert BEARER.check(head(b"/", (b"authorization", b"Bearer " + huge)), NOW) is MISMATCH
    assert BASIC.check(head(b"/", (b"authorization", b"Basic " + b"A" * 4_000_000)), NOW) is FAILED


@pytest.mark.parametrize(
    ("kind", "name", "values", "message"),
    [
        (TokenKind.QUERY, b"token", [], "at least one secret"),
        (TokenKind.QUERY, b"", [VALUE], "a query token needs a name"),
        (TokenKind.HEADER, b"", [VALUE], "a header token needs a name"),
        (TokenKind.HEADER, b"X-Token", [VALUE], "lower case"),
        (TokenKind.BASIC, b"Authorization", [b"a:b"], "lower case"),
        (TokenKind.BASIC, b"", [b"a:b", b"hunter2"], "'key1' is not of the form user:password"),
    ],
)
def test_a_guard_that_could_never_hold_is_an_error_that_tells_no_value(kind, name, values, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(kind, name, *values)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("guard", [QUERY, HEADER, BEARER, BASIC])
def test_no_value_is_shown(guard):
    for shown in (repr(guard), str(guard), f"{[guard]!r}"):
        assert "key0" in shown
        assert "s3cret" not in shown
        assert "pass" not in shown


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (b"Bearer  sesame", "a"),
        (b"Bearer \tsesame", Reason.TOKEN_MISMATCH),
        (b"Bearer Xesame", "x"),
        (b"bearer sesame", "a"),
        (b"Bearer sesame sesame", Reason.TOKEN_MISMATCH),
    ],
)
def test_blanks_around_credentials_are_spaces(value, verdict):
    check = TokenCheck(TokenKind.BEARER, b"", (Secret("a", b"sesame"), Secret("x", b"Xesame")))
    assert check.check(head(b"/", (b"authorization", value)), 0.0) == verdict
