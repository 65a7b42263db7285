"""The log of a whole process: its forms, the trace of a delivery, and what is said of many refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import once, request

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(("form", "name"), [("json", "trace_id"), ("ecs", "trace.id")])
def test_the_trace_is_passed_on_and_logged(
    start: Callable[..., Hookward], upstream: RecordingUpstream, form: str, name: str
) -> None:
    argv = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--log-format", form]
    hookward = start(*argv)
    value = f"00-{TRACE}-{SPAN}-01"
    once(hookward.address, request(content=b"hello", fields={"traceparent": value}))
    [got] = upstream.wait_complete()
    assert got.get(b"traceparent") == value.encode()
    assert hookward.logged({name: TRACE})


def test_many_refusals_of_one_address_are_summed_up(
    start: Callable[..., Hookward], upstream: RecordingUpstream
) -> None:
    argv = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--path", "/hooks", "--open"]
    hookward = start(*argv, "--log-refusals-per-address", "2")
    for _ in range(5):
        assert once(hookward.address, request(target="/nowhere", content=b"x")).status == 404
    hookward.stop()
    kinds = [line["event.name"] for line in hookward.log()]
    assert kinds == ["hookward.exchange"] * 2 + ["hookward.refusals"]
    assert hookward.log()[-1]["hookward.refusals.count"] == 3


def test_durations_have_fractions_of_a_millisecond(start: Callable[..., Hookward], upstream: RecordingUpstream) -> None:
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--log-format", "json")
    for _ in range(5):
        assert once(hookward.address, request(content=b"hello")).status == 200
    lines = hookward.logged({"webhook.reason": "delivered"}, 5)
    for name in ("http.server.request.duration", "hookward.upstream.duration"):
        assert any(round(line[name] * 1e6) % 1000 for line in lines), name
