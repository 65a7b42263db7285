"""Standard Webhooks."""

from __future__ import annotations

from dataclasses import replace

from proxy.core.schemes import PROVIDERS
from proxy.reasons import Reason
from tests.deliveries import check_for, make, run, with_value


def verdict(*values, header="webhook-signature"):
    delivery = make("standard_webhooks")
    return run(check_for(PROVIDERS["standard_webhooks"], delivery.secret), with_value(delivery, header, *values))


def test_any_one_of_several_signatures_is_enough_and_unknown_versions_are_skipped():
    good = make("standard_webhooks").fields[0][1]
    other = b"v1," + b"A" * 43 + b"="
    assert verdict(other + b" " + good) == "0"
    assert verdict(b"v1a,whatever v2,x " + good) == "0"
    assert verdict(other) is Reason.SIGNATURE_MISMATCH
    assert verdict(b"v2," + good[3:]) is Reason.SIGNATURE_MALFORMED
    assert verdict(good + b" v1,!") is Reason.SIGNATURE_MALFORMED
    assert verdict(good + b" nocomma") is Reason.SIGNATURE_MALFORMED


def test_the_border_between_id_and_time_cannot_be_moved():
    assert verdict(b"msg.1", header="webhook-id") is Reason.SIGNATURE_MALFORMED
    assert verdict(b"1764000000.0", header="webhook-timestamp") is Reason.SIGNATURE_MALFORMED
    assert verdict(header="webhook-id") is Reason.SIGNATURE_MISSING
    assert verdict(b"a", b"a", header="webhook-id") is Reason.SIGNATURE_MALFORMED


def test_the_same_delivery_under_a_new_time_is_no_longer_signed():
    assert verdict(b"1764000001", header="webhook-timestamp") is Reason.SIGNATURE_MISMATCH


def test_a_body_that_begins_with_the_id_gains_nothing():
    delivery = make("standard_webhooks")
    moved = replace(delivery, body=b"x." + delivery.body)
    assert isinstance(run(check_for(PROVIDERS["standard_webhooks"], delivery.secret), moved), Reason)
