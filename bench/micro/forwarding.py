"""What writing a head costs: ``python -m bench.micro.forwarding`` prints medians in microseconds.

The heads are those of ``bench.micro.heads``: a GitHub push with its 14 fields, and an answer with 9. Seconds to run;
compare runs on the same quiet machine only.
"""

from bench.micro.heads import ANSWER, LIMITS, PUSH
from bench.micro.timing import tell
from proxy.core.forwarding import Provenance, answer_head, upstream_head
from proxy.core.request_head import read_request_head
from proxy.core.response_head import read_response_head
from proxy.http1 import Framing

DATE = b"Thu, 01 Jan 2026 00:00:00 GMT"
VERIFIED = b"github; secret=2026-q4; id=72d3162e-cc78-11e3-81ab-4c9367dc0958"
FORWARDED = PUSH[:-2] + b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"


def request(data):
    found = read_request_head(data, LIMITS)
    assert found is not None
    return found[0]


def provenance(*, trusted):
    return Provenance(
        client=b"192.0.2.7", scheme=b"https", request_id=b"5f1d0c2a9b", trusted=trusted, verified=VERIFIED
    )


def answer():
    found = read_response_head(ANSWER, b"POST")
    assert found is not None
    return found[0]


STRANGER, FRIEND = provenance(trusted=False), provenance(trusted=True)
PLAIN, THROUGH, NAMING = request(PUSH), request(FORWARDED), request(PUSH.replace(b"keep-alive", b"keep-alive, X-Drop"))
ANSWERED = answer()

CASES = {
    "to the upstream": lambda: upstream_head(PLAIN, b"/hook", STRANGER, 8192),
    "  from a trusted proxy": lambda: upstream_head(THROUGH, b"/hook", FRIEND, 8192),
    "  with a field that Connection names": lambda: upstream_head(NAMING, b"/hook", STRANGER, 8192),
    "to the sender": lambda: answer_head(ANSWERED, Framing.LENGTH, DATE, close=False),
    "  in chunks of ours": lambda: answer_head(ANSWERED, Framing.CHUNKED, DATE, close=True),
}


if __name__ == "__main__":
    assert b"Webhook-Verified: " + VERIFIED in CASES["to the upstream"]()
    tell(CASES)
