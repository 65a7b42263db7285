"""Signatures by their form: what is written rightly is no fault, and nothing of a value is given back."""

from __future__ import annotations

import pytest

from proxy.core.causes import of_signature
from proxy.core.causes.trial import Trial
from tests.faults import CAUSES, KEY, SIGNATURES, Fault, github, refused, route, signed

FORMS = {
    "sha1_value": CAUSES["sha1_value"],
    "digest_other": CAUSES["digest_other"],
    "signature_encoding": CAUSES["signature_encoding"],
    "signature_prefix": CAUSES["signature_prefix"],
    "signature_no_list": CAUSES["signature_no_list"],
    "header_repeated": CAUSES["header_repeated"],
    "header_joined": CAUSES["header_joined"],
    "header_constant": CAUSES["header_constant"],
    "sha1_header": CAUSES["sha1_header"],
    "header_missing": CAUSES["header_missing"],
    "signed_text": CAUSES["signed_text"],
}


@pytest.mark.parametrize("fault", SIGNATURES, ids=lambda fault: fault.what)
def test_the_supposition_of_the_fault_fits(fault: Fault):
    facts = FORMS[fault.word](Trial(fault.case))
    assert facts is not None
    for value in fault.case.head.values.values():
        assert len(value) < 20 or value.decode() not in facts.values()


@pytest.mark.parametrize(
    "provider", ["github", "stripe", "slack", "standard_webhooks", "hubspot_v2", "shopify", "graphcms"]
)
def test_a_well_formed_signature_has_no_fault_of_form(provider: str):
    case = refused(route(provider), signed(provider, b"wrong"))
    assert [word for word, find in FORMS.items() if find(Trial(case)) is not None] == []


@pytest.mark.parametrize("value", [b"", b"sha256=", b"zz", b"sha256=" + b"0" * 63, b",,,,,,,,,,,,", b"=" * 64])
def test_what_has_no_form_is_not_named(value: bytes):
    trial = Trial(refused(route(), {"X-Hub-Signature-256": value}))
    for word in ("sha1_value", "digest_other", "signature_encoding", "signature_prefix", "header_joined"):
        assert FORMS[word](trial) is None


def test_headers_are_counted():
    head = refused(route(), github(b"wrong")).head
    assert of_signature.headers_seen(head, frozenset({b"x-github-event", b"x-other"})) == 1
    assert KEY not in repr(head).encode()
