"""Secrets: each supposition fits its own faults and no other's; what is right is never called odd."""

from __future__ import annotations

import pytest

from proxy.core.causes import of_secret
from proxy.core.causes.trial import Trial
from tests.faults import CAUSES, KEY, SECRETS, TOKEN, Fault, github, refused, route, signed

SUPPOSITIONS = {
    word: CAUSES[word]
    for word in (
        "secret_out_of_dates",
        "secret_blank_here",
        "secret_blank_there",
        "secret_quoted",
        "secret_several_lines",
        "secret_prefix",
        "secret_not_decoded_there",
        "secret_decoded_there",
        "secret_of_another_guard",
        "secret_empty_there",
        "secret_is_api_key",
    )
}


@pytest.mark.parametrize("fault", SECRETS, ids=lambda fault: fault.what)
def test_the_supposition_of_the_fault_fits_first(fault: Fault):
    fitting = [word for word, find in SUPPOSITIONS.items() if find(Trial(fault.case)) is not None]
    assert fitting[0] == fault.word


def test_none_fits_a_secret_that_is_simply_another():
    case = refused(route(), github(b"something else entirely"))
    assert [word for word, find in SUPPOSITIONS.items() if find(Trial(case)) is not None] == []


@pytest.mark.parametrize(
    ("value", "odd"),
    [
        (b"sk_live_x", True),
        (b"xoxb-1", True),
        (b"ghp_x", True),
        (b"-----BEGIN PUBLIC KEY", True),
        (b"whsec_AAAA", False),
        (KEY, False),
        (TOKEN, False),
        (b"", False),
    ],
)
def test_what_looks_like_an_api_key(value: bytes, odd: bool):
    assert (of_secret.api_key(value) is not None) is odd


def test_a_two_part_secret_keeps_its_first_part():
    case = refused(route("livekit", b"id:key"), signed("livekit", b"id:key\n"))
    assert CAUSES["secret_blank_there"](Trial(case)) == {"secret": "main"}


def test_a_key_that_is_a_digest_has_no_text_to_try():
    case = refused(
        route("braintree", b"public:" + b"k" * 20), {}, b"bt_signature=public|" + b"0" * 40 + b"&bt_payload=x"
    )
    assert CAUSES["secret_blank_there"](Trial(case)) is None
    assert CAUSES["secret_empty_there"](Trial(case)) is None
