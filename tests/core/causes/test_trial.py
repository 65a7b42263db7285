"""Trying a supposition: with the code that verifies, without dates and times, and with bounded work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.causes.trial import BUDGET_BYTES, MAX_BODY_BYTES, Trial, undated
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.scheme import Secret
from tests.deliveries import NOW, check_for, make
from tests.faults import JSON, KEY, github, refused, route, signed, token


def mismatch(key: bytes = b"wrong", **parts: bytes) -> Trial:
    return Trial(refused(route(), github(key), **parts))


def test_what_is_not_changed_is_as_it_came():
    trial = mismatch()
    assert trial.fits() is None
    assert trial.fits([Secret("x", b"wrong")]) == "x"
    assert trial.fits([Secret("x", b"wrong")], body=JSON + b"x") is None


def test_time_is_left_out():
    trial = Trial(refused(route("slack"), signed("slack", KEY, now=NOW - 10**6)))
    assert trial.fits() == "main"


def test_dates_are_left_out_where_they_are_taken_off():
    over = Secret("over", b"k", not_after=NOW - 1)
    assert not over.live(NOW)
    assert undated(over).live(NOW)


def test_a_long_body_is_not_looked_at():
    long = b"x" * (MAX_BODY_BYTES + 1)
    assert mismatch(body=long).body is None
    assert mismatch(body=long[:-1]).body is not None


def test_the_work_ends():
    trial = mismatch()
    trial.left = 0
    assert trial.fits([Secret("x", b"wrong")]) is None
    assert BUDGET_BYTES > 100 * MAX_BODY_BYTES


@pytest.mark.parametrize("url", ["http://[", "x"])
def test_a_url_that_is_none_fits_nothing(url: str):
    case = refused(route("square"), signed("square", b"wrong"))
    assert Trial(case).fits(public_url=url) is None


def test_of_a_route_without_a_signature():
    trial = Trial(refused(route("own", token=token()), {}))
    assert (trial.scheme, trial.secrets, trial.keyed, trial.fits(), trial.title) == (None, (), False, None, "own")


def test_with_a_public_key_no_other_key_can_be_tried():
    delivery = make("discord")
    check = check_for(PROVIDERS["discord"], delivery.secret)
    assert not Trial(replace(mismatch().case, route=replace(route(), signature=check))).keyed
