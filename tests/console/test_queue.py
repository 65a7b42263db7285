"""The queue as the console shows it: paused, filled, listed, dropped and resumed."""

from __future__ import annotations

from collections.abc import Callable

from tests.console.asking import delivery, token
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import once

Start = Callable[..., Hookward]


def test_a_route_is_paused_and_what_comes_is_listed_and_goes_on(begin: Start, upstream: RecordingUpstream) -> None:
    hookward = begin(route='deliver = "queue"', more='[queue]\n[route.direct]\npath = "/direct"\nopen = true\n')
    visitor = token(hookward)
    assert visitor.get("queue")["records"] == []
    assert visitor.post("routes/github/pause").json == {"route": "github", "paused": True}
    assert visitor.post("routes/none/pause").status == 404
    assert visitor.post("routes/direct/pause").status == 409, "what comes there would go on"
    assert visitor.get("routes")["routes"][0]["paused"] is True
    for number in range(3):
        assert once(hookward.address, delivery(name=f"d-{number}")).status == 202
    waiting = visitor.get("queue?q=route:github&limit=2")
    assert len(waiting["records"]) == 2
    assert waiting["next"] == waiting["records"][1]["id"]
    assert waiting["routes"][0]["waiting"] == 3
    name = waiting["records"][0]["id"]
    assert visitor.post(f"queue/{name}/drop").json == {"changed": 1}
    assert visitor.post(f"queue/{name}/drop").status == 404
    assert upstream.complete == []
    assert visitor.post("routes/github/resume").json["paused"] is False
    assert len(upstream.wait_complete(2)) == 2
    assert hookward.said("audit: act token from 127.0.0.1 paused the route github: done")


def test_without_a_queue_that_is_said(begin: Start) -> None:
    visitor = token(begin())
    assert visitor.get("queue") == {"configured": False, "records": [], "next": None}
    assert visitor.post("routes/github/pause").status == 409
    assert visitor.post("queue/x/replay").status == 404
