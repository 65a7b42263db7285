"""The check as the rest of the house uses it: vectors, rotation, tolerance, and no exception whatever comes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.schemes import PROVIDERS, find
from proxy.core.signing.proof import Scheme, SignatureCheck
from proxy.core.signing.scheme import Secret
from proxy.http1 import Framing, RequestHead
from proxy.reasons import Reason
from tests.deliveries import NOW, RAW, Delivery, check_for, head_of, make, run, with_value
from tests.examples import examples

FOLDER = Path(__file__).parents[1] / "vectors"
VECTORS = [vector for path in sorted(FOLDER.glob("*.json")) for vector in json.loads(path.read_text())]
SIGNING = [slug for slug, provider in PROVIDERS.items() if provider.scheme is not None]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['provider']}: {vector['source']}")
def test_vectors_of_the_providers_themselves(vector):
    delivery = Delivery(
        [(name, value.encode()) for name, value in vector["headers"]],
        vector["body"].encode(),
        vector["secret"].encode(),
        method=vector["method"].encode(),
        target=vector["target"].encode(),
    )
    provider = find(vector["provider"])
    assert provider is not None
    check = check_for(provider, delivery.secret)
    assert run(check, delivery, vector["now"], range(0, len(delivery.body), 5)) == "0"
    assert (
        isinstance(run(check, replace(delivery, body=delivery.body + b" "), vector["now"]), Reason) == vector["covered"]
    )


@pytest.mark.parametrize("slug", SIGNING)
def test_the_secret_does_not_show(slug):
    delivery = make(slug)
    check = check_for(PROVIDERS[slug], delivery.secret)
    shown = repr(check) + repr(check.begin(head_of(delivery), NOW))
    assert delivery.secret.decode() not in shown
    assert repr(check.secrets[0].value) not in shown


@pytest.mark.parametrize("slug", ["github", "stripe", "twilio", "vonage", "discord", "wise", "box"])
def test_a_secret_counts_between_its_dates_only(slug):
    delivery = make(slug)
    value = check_for(PROVIDERS[slug], delivery.secret).secrets[0].value
    scheme = PROVIDERS[slug].scheme
    old = Secret("old", value, not_after=NOW)
    new = Secret("new", value, not_before=NOW + 1)
    live = Secret("live", value, not_before=NOW, not_after=NOW + 1)
    url = "https://hooks.example.com"
    assert run(SignatureCheck(scheme, (old, new), public_url=url), delivery) is Reason.SIGNATURE_MISMATCH
    assert run(SignatureCheck(scheme, (old, live, new), public_url=url), delivery) == "live"


def test_the_first_of_two_equal_secrets_is_named():
    assert run(check_for(PROVIDERS["github"], RAW, RAW), make("github")) == "0"


def test_a_route_may_widen_and_narrow_the_window():
    slack = PROVIDERS["slack"]
    delivery = make("slack")
    assert run(check_for(slack, RAW, tolerance_s=600), delivery, NOW + 599) == "0"
    assert run(check_for(slack, RAW, tolerance_s=10), delivery, NOW + 11) is Reason.TIMESTAMP_TOO_OLD
    assert run(check_for(slack, RAW, tolerance_s=0), delivery, NOW) == "0"
    vonage = PROVIDERS["vonage"]
    delivery = make("vonage")
    assert run(check_for(vonage, RAW, tolerance_s=600), delivery, NOW + 599) == "0"
    assert run(check_for(vonage, RAW, tolerance_s=10), delivery, NOW + 11) is Reason.TIMESTAMP_TOO_OLD


def test_what_cannot_be_checked_is_refused_when_it_is_configured():
    scheme = PROVIDERS["square"].scheme
    with pytest.raises(ValueError, match="at least one"):
        SignatureCheck(scheme, ())
    with pytest.raises(ValueError, match="public_url"):
        SignatureCheck(scheme, (Secret("a", b"k"),))
    with pytest.raises(ValueError, match="public key"):
        SignatureCheck(PROVIDERS["wise"].scheme, (Secret("a", b"no key"),))


def test_the_public_url_is_an_origin_or_the_whole_url():
    delivery = make("square")
    scheme = PROVIDERS["square"].scheme
    secrets = (Secret("a", RAW),)
    for url in (
        "https://hooks.example.com",
        "https://hooks.example.com/",
        "https://hooks.example.com/in/here?x=1&a=b%20c",
    ):
        assert run(SignatureCheck(scheme, secrets, public_url=url), delivery) == "a"
    for url in ("http://hooks.example.com", "https://hooks.example.com/in/here", "https://other.example.com"):
        assert run(SignatureCheck(scheme, secrets, public_url=url), delivery) is Reason.SIGNATURE_MISMATCH


def test_schemes_that_hold_say_so():
    whole = {slug for slug in SIGNING if check_for(PROVIDERS[slug], make(slug).secret).whole_body}
    assert whole == {
        "adyen_payments",
        "braintree",
        "discord",
        "kinde",
        "mailchimp",
        "mailgun",
        "microsoft_graph",
        "plivo",
        "sns",
        "standard_webhooks_v1a",
        "telnyx",
        "twilio",
        "twilio_sha256",
    }


def test_the_order_of_checks_tells_the_first_thing_that_is_wrong():
    delivery = make("slack")
    check = check_for(PROVIDERS["slack"], RAW)
    without = replace(delivery, fields=[])
    assert run(check, without) is Reason.SIGNATURE_MISSING
    both = with_value(with_value(delivery, "X-Slack-Request-Timestamp"), "X-Slack-Signature", b"v0=zz")
    assert run(check, both) is Reason.SIGNATURE_MALFORMED


CHECKS = {slug: check_for(PROVIDERS[slug], make(slug).secret) for slug in SIGNING}
JUNK = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [b"t=1,v1=aa", b"v1,AA==", b"1,ab", b"a.b.c", b"e30.e30.AA", b"eyJhbGciOiJub25lIn0.e30.", b"sha256="]
    ),
    st.integers(-1, 10**20).map(lambda number: b"%d" % number),
)


@pytest.mark.parametrize("slug", SIGNING)
@examples(10)
@given(data=st.data())
def test_nothing_that_a_sender_writes_raises(slug, data):
    """Genuine fields, some of them replaced, dropped or doubled, and any body: a reason, never an exception."""
    delivery = make(slug)
    names = [name for name, _ in delivery.fields]
    fields = []
    for name, value in delivery.fields:
        lines = data.draw(st.sampled_from([(), (value,), (None,), (value, None)]))
        fields += [(name, data.draw(JUNK) if line is None else line) for line in lines]
    body = data.draw(st.one_of(st.binary(max_size=200), st.just(delivery.body), st.just(delivery.body[:-2] + b'"}')))
    target = data.draw(
        st.sampled_from([b"/", b"/?bodySHA256=aa", b"/?bodySHA256=a&bodySHA256=b", b"/?data.id=1", b"*"])
    )
    changed = replace(delivery, fields=fields, body=body, target=target)
    verdict = run(CHECKS[slug], changed, data.draw(st.sampled_from([0.0, float(NOW), 1e11])), (1, 2))
    assert isinstance(verdict, Reason | str)
    if delivery.covered and names and body != delivery.body:
        assert isinstance(verdict, Reason)


def test_a_scheme_is_plain_data():
    head = RequestHead(b"POST", b"/", 1, [], [], b"/", None, b"h", Framing.NONE, None, True, False, {})
    assert SignatureCheck(Scheme((b"x-sig",)), (Secret("a", b"k"),)).begin(head, 0.0) is Reason.SIGNATURE_MISSING


@pytest.mark.parametrize(
    ("slug", "most"), [("github", None), ("twilio", 1 << 20), ("discord", 1 << 20), ("sns", 256 << 10)]
)
def test_what_needs_the_whole_body_bounds_it(slug, most):
    assert check_for(PROVIDERS[slug], make(slug).secret).max_body == most
