"""URLs: only schemes that sign one are asked, and hosts of strangers are tried for their form alone."""

from __future__ import annotations

import pytest

from proxy.core.causes.trial import Trial
from tests.faults import CAUSES, KEY, URLS, Fault, github, refused, route, signed

SUPPOSITIONS = {word: CAUSES[word] for word in ("url_scheme", "url_host", "url_query", "url_path")}


@pytest.mark.parametrize("fault", URLS, ids=lambda fault: fault.what)
def test_the_supposition_of_the_fault_fits(fault: Fault):
    assert SUPPOSITIONS[fault.word](Trial(fault.case)) == {"secret": "main"}


def test_a_scheme_that_signs_no_url_has_no_fault_in_it():
    trial = Trial(refused(route(), {**github(b"wrong"), "X-Forwarded-Host": b"other.example"}))
    assert [word for word, find in SUPPOSITIONS.items() if find(trial) is not None] == []
    assert trial.left == Trial(trial.case).left, "and costs nothing"


@pytest.mark.parametrize("host", [b"[", b"[::1", b"a/b", b"a b", b"x" * 300, b"", b"user@evil", b"h:99999999"])
def test_a_host_that_is_none_is_not_tried(host: bytes):
    case = refused(route("twilio"), {**signed("twilio", b"wrong", b"a=b"), "X-Forwarded-Host": host}, b"a=b")
    assert CAUSES["url_host"](Trial(case)) is None


def test_form_schemes_are_tried_too():
    case = refused(
        route("twilio"), signed("twilio", KEY, b"a=b", url="http://hooks.example.com/in/here?x=1&a=b%20c"), b"a=b"
    )
    assert CAUSES["url_scheme"](Trial(case)) == {"secret": "main"}
