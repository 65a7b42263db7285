"""Tokens: compared in whole, and a guess is never called a copy."""

from __future__ import annotations

import pytest

from proxy.core.causes.trial import Trial
from proxy.core.signing.proof import TokenKind
from tests import policies
from tests.faults import CAUSES, TOKEN, TOKENS, Fault, refused, route, token

SUPPOSITIONS = {
    word: CAUSES[word]
    for word in (
        "token_out_of_dates",
        "token_badly_copied",
        "token_of_another_route",
        "token_in_another_place",
        "token_absent",
    )
}


@pytest.mark.parametrize("fault", [one for one in TOKENS if one.word in SUPPOSITIONS], ids=lambda fault: fault.what)
def test_the_supposition_of_the_fault_fits(fault: Fault):
    assert SUPPOSITIONS[fault.word](Trial(fault.case)) is not None


@pytest.mark.parametrize("given", [TOKEN[:-1], TOKEN + b"x", b"Bearer", b"%", b"%zz", b"\xff" * 9, TOKEN.upper()])
@pytest.mark.parametrize("kind", [TokenKind.HEADER, TokenKind.QUERY])
def test_a_guess_fits_nothing(kind: TokenKind, given: bytes):
    guard = route("own", token=token(kind, b"t"))
    query = b"/?t=" + given if kind is TokenKind.QUERY else b"/"
    trial = Trial(refused(guard, {} if kind is TokenKind.QUERY else {"T": given}, target=query))
    assert [word for word, find in SUPPOSITIONS.items() if find(trial) is not None] == []


def test_a_token_in_the_path_that_was_escaped_or_not_given():
    """Badly copied, missing, or none of ours; and what is told shows none of it."""
    guard = policies.route(name="own", path=b"/hooks/", token=token(TokenKind.PATH, b"/hooks/"), provider="token")
    for target, words in (
        (b"/hooks/%22" + TOKEN + b"%22", ["token_badly_copied"]),
        (b"/hooks/", ["token_absent"]),
        (b"/hooks/?t=" + TOKEN, ["token_in_another_place", "token_absent"]),
        (b"/hooks/" + TOKEN[:-1], []),
    ):
        trial = Trial(refused(guard, {}, target=target))
        facts = {word: find(trial) for word, find in SUPPOSITIONS.items()}
        assert [word for word, fact in facts.items() if fact is not None] == words
        assert TOKEN.decode() not in repr(facts)


def test_a_route_without_a_token_has_no_fault_in_it():
    trial = Trial(refused(route(), {}))
    assert [word for word, find in SUPPOSITIONS.items() if find(trial) is not None] == []


def test_many_fields_cost_little():
    fields = [(f"X-{at}", b"x") for at in range(500)]
    trial = Trial(refused(route("own", token=token()), fields, target=b"/?" + b"&".join([b"a=b"] * 2000)))
    assert CAUSES["token_in_another_place"](trial) is None
