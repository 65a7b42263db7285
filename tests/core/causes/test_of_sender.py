"""Senders: named by the headers that prove them, and not by headers that many use."""

from __future__ import annotations

import pytest

from proxy.core import causes
from proxy.core.causes.trial import Trial
from tests.deliveries import Delivery, head_of
from tests.faults import CAUSES, KEY, SENDERS, Fault, github, refused, route, signed

SUPPOSITIONS = {word: CAUSES[word] for word in ("other_provider", "other_scheme", "unsigned", "by_hand")}


@pytest.mark.parametrize("fault", SENDERS[:-2], ids=lambda fault: fault.what)
def test_the_supposition_of_the_fault_fits(fault: Fault):
    assert SUPPOSITIONS[fault.word](Trial(fault.case)) is not None


@pytest.mark.parametrize(
    ("fields", "slugs"),
    [
        ({"X-Gitlab-Token": b"x"}, ["gitlab"]),
        ({"Stripe-Signature": b"t=1"}, ["stripe"]),
        ({"X-Hub-Signature": b"sha256=ab", "X-Event-Key": b"repo:push", "X-Request-UUID": b"1"}, ["bitbucket"]),
        ({"Authorization": b"Bearer x", "X-Signature": b"ab", "X-Request-Id": b"1"}, []),
        ({}, []),
    ],
)
def test_who_sends(fields: dict[str, bytes], slugs: list[str]):
    head = head_of(Delivery(list(fields.items())))
    assert [provider.slug for provider in causes.providers_of(head, frozenset())] == slugs


def test_the_own_provider_is_not_another_one():
    trial = Trial(refused(route(), github(b"wrong")))
    assert CAUSES["other_provider"](trial) is None
    assert CAUSES["by_hand"](trial) is None


def test_a_user_agent_gives_an_unsigned_delivery_away():
    trial = Trial(refused(route(), {"User-Agent": b"GitHub-Hookshot/044aadd"}))
    assert CAUSES["unsigned"](trial) == {"title": "GitHub"}


def test_a_wrong_secret_fits_as_nobody_else():
    assert CAUSES["other_scheme"](Trial(refused(route("bitbucket"), signed("bitbucket", b"wrong" + KEY)))) is None
