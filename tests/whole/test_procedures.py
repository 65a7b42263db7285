"""The procedures of docs/operations.md and docs/secrets.md, run as they stand there, most of them under load."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proxy.config.schema import SECTIONS
from proxy.core.metric_families import FAMILIES
from proxy.reasons import Reason
from tests.pages import ROOT, blocks
from tests.whole.administrator import BODY, PAGE, Host, load, waited
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import program
from tests.whole.wire import PATIENCE_S, github, once, request


def test_the_first_route(host: Host, upstream: RecordingUpstream) -> None:
    assert "github" in host.run("first")
    host.boot()
    assert host.run("deliver").startswith("ready\n")
    assert len(upstream.wait_complete()) == 1
    host.run("reload")
    host.config.write_text(host.config.read_text().replace("provider", "porvider"))
    host.run("reload", code=78)
    host.run("stop")
    assert host.hookward.wait() == 0


def test_a_secret_is_rotated_without_one_refusal(host: Host) -> None:
    host.set_up()
    host.page = "secrets.md"
    host.run("rotate")
    old, new = host.etc / "github.secret", host.etc / "github.2026-q4.secret"
    [both] = [one.text for one in blocks("toml", pages=[ROOT / "docs" / "secrets.md"])]
    both = host.here(both).replace("2026-12-15", "2099-12-15")
    lines = both.splitlines(keepends=True)
    host.config.write_text("".join(line for line in lines if "2026-q4" not in line))
    host.boot()
    with load(host, old) as provider:
        host.config.write_text(both)
        host.run("reload")
        provider.go_on()
        provider.change(new.read_bytes())
        provider.go_on()
        waited(lambda: '"webhook.secret_name":"2026-q4"' in host.access_log.read_text())  # behind all of the old one
        last = host.run("rotate-look")
        assert last.count("\n") == 1
        host.config.write_text("".join(line for line in lines if "2026-q3" not in line))
        host.run("reload")
        provider.go_on()
        assert host.run("rotate-look") == last
    stale = request("POST", "/hooks/github", github(old.read_bytes(), BODY), BODY)
    assert once(host.hookward.address, stale).word == "signature_mismatch"
    if program("jq"):
        assert re.search(r"^ *\d+ 127.0.0.1\t.*\tdelivered$", host.run("leak-look"), re.MULTILINE)


def _page() -> str:
    return (ROOT / "docs" / PAGE).read_text()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the new process is watched through /proc")
def test_an_upgrade(host: Host) -> None:
    host.set_up()
    hookward = host.boot()
    with load(host, host.etc / "github.secret") as provider:
        host.run("upgrade")
        assert hookward.said("has taken over")
        provider.go_on()
        heir = re.search(r"upgraded: process (\d+) has", hookward.err.text)
        assert heir is not None
    assert hookward.process.wait(PATIENCE_S) == 0
    host.run("stop", MAINPID=heir[1])  # whose end is also that of the output of both
    assert hookward.wait() == 0


def test_the_log_is_read_and_rotated(host: Host) -> None:
    jq, logrotate = program("jq"), program("logrotate")
    assert jq
    host.set_up()
    host.config.write_text(f'access_log = "{host.access_log}"\n{host.config.read_text()}')
    hookward = host.boot()
    secret = (host.etc / "github.secret").read_bytes()
    delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    good = github(secret, BODY, delivery=delivery)
    assert once(hookward.address, request("POST", "/hooks/github", good, BODY)).status == 200
    for _ in range(3):
        assert once(hookward.address, request("POST", "/nowhere", good, BODY)).status == 404
    assert once(hookward.address, request("POST", "/hooks/github", github(b"x", BODY), BODY)).status == 403
    read: Any = waited(lambda: host.run("log") if host.access_log.read_text().count("\n") == 5 else "")
    counts = [line.split() for line in read.splitlines()[:3]]
    assert counts == [["3", "path_not_matched"], ["1", "signature_mismatch"], ["1", "delivered"]]
    assert "3 127.0.0.1\t/nowhere\tpath_not_matched" in read
    assert f'"webhook.delivery_id": "{delivery}"' in read
    assert len(re.findall(r"^[\d.e-]+\t[\d.e-]*\t\w{16}$", read, re.MULTILINE)) == 5

    rules = host.etc / "logrotate"
    rules.write_text(host.text("text", "logrotate"))
    state = host.etc / "logrotate.state"
    host.log.chmod(0o755)
    host.shell(f"{logrotate} --force --state {state} {rules}")
    assert hookward.said("reopened the access log")
    assert once(hookward.address, request("POST", "/nowhere", good, BODY)).status == 404
    assert waited(lambda: host.access_log.exists() and host.access_log.read_text().count("\n") == 1)
    assert (host.log / "access.log.1").read_text().count("\n") == 5


def test_prometheus_takes_what_it_is_told(host: Host, tmp_path: Path) -> None:
    promtool = program("promtool")
    host.set_up()
    host.boot()
    host.run("alert")
    config = tmp_path / "prometheus.yml"
    config.write_text(host.text("yaml", "prometheus"))
    host.shell(f"{promtool} check config {config}")
    table = _page().partition("| question | query |")[2].partition("\n\n")[0]
    queries = [query for query in re.findall(r"`([^`]+)`", table) if " " in query]
    rules = [{"record": f"question:{number}", "expr": query} for number, query in enumerate(queries)]
    asked = tmp_path / "questions.yml"
    asked.write_text(json.dumps({"groups": [{"name": "questions", "rules": rules}]}))
    host.shell(f"{promtool} check rules {asked}")
    assert len(queries) >= 10


def test_the_table_of_limits_names_what_there_is() -> None:
    table = _page().partition("## Tuning the limits")[2].partition("\n## ")[0]
    names = set(re.findall(r"`([a-z_]+)", table))
    limits = {key.name for key in SECTIONS["limits"].keys}
    turns = {"turn", "concurrency", "pace", "deliver"}  # a refusal by a key of the route
    known = limits | {family.name for family in FAMILIES} | {reason.word for reason in Reason}
    assert names - known == {"head", "trusted_proxies", "hold", "workers", *turns} - known
    assert len(names & limits) >= 6
