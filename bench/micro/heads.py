"""What reading one head costs: ``python -m bench.micro.heads`` prints medians in microseconds.

The request is a GitHub push with its 14 fields, the answer what a small application server sends. h11 is measured on
the same bytes for comparison. Seconds to run; compare runs on the same quiet machine only.
"""

import h11

from bench.micro.timing import tell
from proxy.core.grammar import check_host, parse_target
from proxy.core.request_head import HeadLimits, read_request_head
from proxy.core.response_head import read_response_head

PUSH = b"""POST /flexdeploy/webhooks/v2/git HTTP/1.1
Host: hooks.example.com
User-Agent: GitHub-Hookshot/044aadd
Content-Length: 8192
Accept: */*
Connection: keep-alive
Content-Type: application/json
X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958
X-GitHub-Event: push
X-GitHub-Hook-ID: 292430182
X-GitHub-Hook-Installation-Target-ID: 79929171
X-GitHub-Hook-Installation-Target-Type: repository
X-Hub-Signature: sha1=7d38cdd689735b008b3c702edd92eea23791c5f6
X-Hub-Signature-256: sha256=d57c68ca6f92289e6987922ff26938930f6e66a2d161ef06abdf1859230aa23c
Accept-Encoding: gzip, deflate, br

""".replace(b"\n", b"\r\n")
ODD_PUSH = PUSH.replace(b"GitHub-Hookshot", b"H\xc3\xb6\xc3\xb6kshot")
ANSWER = b"""HTTP/1.1 200 OK
Server: gunicorn
Date: Thu, 01 Jan 2026 00:00:00 GMT
Connection: keep-alive
Content-Type: application/json
Content-Length: 15
X-Content-Type-Options: nosniff
Referrer-Policy: same-origin
Cross-Origin-Opener-Policy: same-origin
Vary: Accept-Encoding, Cookie

""".replace(b"\n", b"\r\n")
LIMITS = HeadLimits(16384, 8192, 100)


def h11_request():
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(PUSH)
    connection.next_event()


def h11_response():
    connection = h11.Connection(h11.CLIENT)
    connection.receive_data(ANSWER)
    connection.next_event()


CASES = {
    "request head, 14 fields": lambda: read_request_head(PUSH, LIMITS),
    "  its target": lambda: parse_target(b"POST", b"/flexdeploy/webhooks/v2/git", b"hooks.example.com"),
    "  its Host": lambda: check_host(b"hooks.example.com"),
    "  the same by the careful path": lambda: read_request_head(ODD_PUSH, LIMITS),
    "  the same, incomplete": lambda: read_request_head(PUSH[:-2], LIMITS),
    "  the request by h11": h11_request,
    "answer head, 9 fields": lambda: read_response_head(ANSWER, b"POST"),
    "  the answer by h11": h11_response,
}


if __name__ == "__main__":
    tell(CASES)
