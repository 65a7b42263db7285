"""The demo's own judgement: what it sends, and when it calls a promise kept."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from proxy.config.host import Paint
from proxy.tools import demo
from proxy.tools.demo import PROMISES, Outcome, Promise, Seen, StageError, main
from tests.whole.process import environment

SEEN = Seen("POST", "/hooks/github", 10, "github; secret=a; id=b")


def line(reason: str) -> dict[str, object]:
    return {"webhook.reason": reason, "http.server.request.duration": 0.0012, "client.address": "127.0.0.1"}


def test_the_genuine_push_is_signed_as_github_signs():
    headers = demo._headers(PROMISES[0], b"secret")
    mac = hmac.new(b"secret", PROMISES[0].body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature-256"] == f"sha256={mac}"
    assert "X-Hub-Signature-256" not in demo._headers(PROMISES[2], b"secret")
    assert PROMISES[1].body != PROMISES[0].body
    assert len(PROMISES[1].body) == len(PROMISES[0].body)


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Outcome(200, "OK", "", SEEN, line("delivered")), True),
        (Outcome(200, "OK", "", None, line("delivered")), False),
        (Outcome(403, "Forbidden", "", None, line("signature_mismatch")), False),
        (Outcome(200, "OK", "", SEEN, None), False),
        (Outcome(0), False),
    ],
)
def test_a_delivery_is_kept_when_all_three_agree(outcome: Outcome, kept: object):
    assert outcome.keeps(PROMISES[0]) is kept


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Outcome(403, "Forbidden", "", None, line("signature_mismatch")), True),
        (Outcome(403, "Forbidden", "", SEEN, line("signature_mismatch")), False),
        (Outcome(403, "Forbidden", "", None, line("signature_missing")), False),
    ],
)
def test_a_refusal_that_reaches_the_application_is_a_broken_promise(outcome: Outcome, kept: object):
    assert outcome.keeps(PROMISES[1]) is kept


def test_a_reset_and_a_host_without_the_address():
    assert Outcome(0).keeps(PROMISES[4])
    assert Outcome(-1).keeps(PROMISES[4])
    assert not Outcome(403, "Forbidden", "", None, line("address_refused")).keeps(PROMISES[4])


def test_what_is_told(capsys: pytest.CaptureFixture[str]):
    paint = Paint(colour=False)
    demo._tell(1, PROMISES[0], Outcome(200, "OK", "thank you", SEEN, line("delivered")), paint)
    demo._tell(2, PROMISES[4], Outcome(0), paint)
    demo._tell(3, PROMISES[4], Outcome(-1), paint)
    demo._tell(
        4, Promise("a promise", 403, "signature_missing"), Outcome(200, "OK", "", SEEN, line("delivered")), paint
    )
    text = capsys.readouterr().out
    assert "200 OK: thank you" in text
    assert "Webhook-Verified: github; secret=a; id=b" in text
    assert "delivered 1.2ms from=127.0.0.1" in text
    assert "the connection was reset at accept" in text
    assert "this host has no address 127.0.0.2" in text
    assert "promised was 403 signature_missing" in text


def test_where_hookward_does_not_start_it_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def no_stage(_: object) -> None:
        raise StageError("the reason")

    monkeypatch.setattr(demo, "stage", no_stage)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["--once"]) == 70
    assert "the reason" in capsys.readouterr().err


def test_bad_flags():
    with pytest.raises(SystemExit) as ended:
        main(["--twice"])
    assert ended.value.code == 64


def test_on_a_terminal_it_ends_on_the_console():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "proxy", "demo"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), start_new_session=True
    )
    os.close(theirs)
    try:
        seen, link = b"", None
        while link is None:
            seen += os.read(ours, 65536)
            link = re.search(rb"http://127\.0\.0\.1:(\d+)(/enter\?link=[\w-]+)[^\w-]", seen)
        connection = http.client.HTTPConnection("127.0.0.1", int(link[1]), timeout=20)
        connection.request("GET", link[2].decode())
        cookie = connection.getresponse().headers["Set-Cookie"].partition(";")[0]
        connection = http.client.HTTPConnection("127.0.0.1", int(link[1]), timeout=20)
        connection.request("GET", "/api/v1/deliveries", headers={"Cookie": cookie})
        found = json.loads(connection.getresponse().read())
        assert {row["reason"] for row in found["deliveries"]} >= {
            "delivered",
            "signature_mismatch",
            "signature_missing",
        }
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
