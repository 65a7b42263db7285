"""What a line of the access log costs: ``python -m bench.micro.access_log`` prints medians in microseconds.

The record is that of an admitted GitHub push; a refusal has fewer fields. Each form renders the same one, and nothing
is written. Seconds to run; compare runs on the same quiet machine only.
"""

from dataclasses import replace

from bench.micro.timing import tell
from proxy.core.record import ExchangeRecord
from proxy.net.log_formats import EcsLines, JournalLines, JsonLines, TextLines
from proxy.reasons import Phase, Reason

DELIVERED = ExchangeRecord(
    request_id="5f1d0c2a9b7e4d31",
    started=1764000000.25,
    peer="192.0.2.7",
    client="192.0.2.7",
    reason=Reason.DELIVERED,
    phase=Phase.DONE,
    verdict="admitted",
    method="POST",
    path="/flexdeploy/webhooks/v2/git",
    host="hooks.example.com",
    keep_alive=True,
    user_agent="GitHub-Hookshot/044aadd",
    status=200,
    route="github",
    provider="github",
    event="push",
    delivery_id="72d3162e-cc78-11e3-81ab-4c9367dc0958",
    secret_name="2026-q4",
    upstream="127.0.0.1:8000",
    duration_s=0.0042,
    upstream_duration_s=0.0031,
    bytes_in=8192,
    bytes_out=15,
)
REFUSED = replace(
    DELIVERED, reason=Reason.SIGNATURE_MISMATCH, verdict="refused", status=403, secret_name="", upstream=""
)
FORMS = {
    "JSON": JsonLines(),
    "ECS": EcsLines(),
    "text": TextLines(colour=False),
    "text with colours": TextLines(colour=True),
    "journal": JournalLines(),
}
CASES = {
    f"{form}, {what}": lambda render=render, record=record: render(record)
    for form, render in FORMS.items()
    for what, record in (("delivered", DELIVERED), ("refused", REFUSED))
}


if __name__ == "__main__":
    assert all("5f1d0c2a9b7e4d31" in case() for case in CASES.values())
    tell(CASES)
