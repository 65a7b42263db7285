"""Who the client is behind a trusted proxy, and that two proxies' words which differ are nobody's."""

from __future__ import annotations

import pytest

from proxy.core.addresses import AddressSet, Peer
from proxy.core.exchange import Admit, Reject
from proxy.reasons import Reason
from tests.core.test_exchange import ask, route

BALANCER = Peer.of("10.0.0.1")
TRUSTED = AddressSet.parse(["10.0.0.0/8"])
FORGED, SAID = "198.51.100.1", "192.0.2.9"


def behind(fields: dict[str, str], *, trusted: bool = True) -> Admit | Reject:
    return ask(route(), fields=fields, peer=BALANCER, trusted=trusted, trusted_proxies=TRUSTED)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"X-Forwarded-For": f"{FORGED}, {SAID}"}, id="x-forwarded-for"),
        pytest.param({"X-Forwarded-For": f"{FORGED}, {SAID}, 10.0.0.2"}, id="two proxies"),
        pytest.param({"X-Forwarded-For": FORGED, "x-forwarded-for": SAID}, id="two lines"),
        pytest.param({"Forwarded": f"for={FORGED}, for={SAID};proto=https"}, id="forwarded"),
        pytest.param({"Forwarded": f"for={FORGED}", "forwarded": f"for={SAID}, for=10.0.0.2"}, id="forwarded twice"),
        pytest.param({"X-Forwarded-For": SAID, "Forwarded": f"for={SAID}"}, id="both, the same"),
        pytest.param({"X-Forwarded-For": f"{FORGED}, {SAID}", "Forwarded": f"for={SAID}"}, id="both, with a past"),
    ],
)
def test_the_client_is_whom_the_proxy_names(fields: dict[str, str]):
    decision = behind(fields)
    assert isinstance(decision, Admit)
    assert decision.client.text == SAID
    assert behind(fields, trusted=False).client == BALANCER


def test_nobody_named_is_the_proxy_itself():
    assert behind({}).client == BALANCER


def test_two_fields_that_differ_are_refused():
    decision = behind({"X-Forwarded-For": SAID, "Forwarded": f"for={FORGED}"})
    assert isinstance(decision, Reject)
    assert (decision.reason, decision.detail) == (Reason.BAD_REQUEST, "forwarded_conflict")
    assert (decision.client, decision.route, decision.allow, decision.status) == (BALANCER, None, (), None)
