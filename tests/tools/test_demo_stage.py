"""The stage: an application that remembers, and what happens when hookward does not start."""

from __future__ import annotations

import errno
import http.client
from pathlib import Path

import pytest

from proxy.tools import demo
from proxy.tools.demo import Application, StageError, _environment, stage


def test_the_application_thanks_and_remembers():
    application = Application()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", application.port, timeout=10)
        connection.request("POST", "/a?b=c", body=b"12345", headers={"Webhook-Verified": "github"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"thank you\n")
        connection.close()
        seen = application.seen.get(timeout=10)
    finally:
        application.close()
    assert (seen.method, seen.target, seen.size, seen.verified) == ("POST", "/a?b=c", 5, "github")


def test_a_host_without_ipv4_is_told(monkeypatch: pytest.MonkeyPatch):
    def without(*_: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(demo, "ThreadingHTTPServer", without)
    with pytest.raises(StageError, match=r"needs 127\.0\.0\.1, where nothing can listen here: Cannot assign"):
        Application()


def test_settings_of_another_hookward_do_not_reach_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOKWARD_LISTEN", ":1")
    monkeypatch.setenv("HOOKWARD_LOOP", "asyncio")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    found = _environment()
    assert "HOOKWARD_LISTEN" not in found
    assert found["HOOKWARD_LOOP"] == "asyncio"
    first, second = found["PYTHONPATH"].split(":")
    assert (Path(first) / "proxy" / "__main__.py").exists()
    assert second == "/elsewhere"


def test_what_it_said_comes_with_the_error(tmp_path: Path):
    with pytest.raises(StageError, match="secret"), stage(tmp_path / "missing.secret"):
        pytest.fail("it must not start")
