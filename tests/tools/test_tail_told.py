"""One line for people, and the lines of a log as events: whatever a sender chose is text."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.host import Paint
from proxy.tools.tail import event_of, one_line

NAMES = ["verdict", "route", "reason", "path", "method", "client", "why", "mend", "detail", "event"]
PLAIN = Paint(colour=False)


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=20)), st.booleans())
def test_nothing_drives_the_terminal(event: dict[str, str], compact: bool) -> None:
    line = one_line(event, PLAIN, compact=compact)
    assert all(char.isprintable() or char == "\n" for char in line)
    assert line.count("\n") <= 1


@given(
    st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(["webhook.reason", "timestamp", "@timestamp", "http.server.request.duration"]),
        st.text(max_size=9) | st.integers() | st.none(),
    ).map(lambda found: json.dumps(found).encode())
)
def test_any_line_of_a_log_is_read_or_passed_over(line: bytes) -> None:
    event = event_of(line)
    assert event is None or isinstance(event["time"], float | int)


def test_through_which_agent_is_told() -> None:
    event = event_of(b'{"webhook.reason": "delivered", "hookward.upstream.address": "agent:ci/host-1a2b3c"}')
    assert event is not None
    assert event["agent"] == "ci"
    assert "agent=ci" in one_line(event, PLAIN, compact=False)
    direct = event_of(b'{"webhook.reason": "delivered", "hookward.upstream.address": "127.0.0.1:80"}')
    assert direct is not None
    assert "agent=" not in one_line(direct, PLAIN, compact=False)
