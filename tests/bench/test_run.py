"""The bench still runs: every kind of workload once, tiny, with our own client. Its figures mean nothing here."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.load import delivery
from bench.load.chart import chart
from bench.load.origin import CHUNKED
from bench.load.report import markdown, summary
from bench.load.targets import TARGETS, Target, verdicts
from bench.load.workloads import FIGURES, WORKLOADS
from bench.peers.catalogue import PEERS, Peer
from tests.whole.process import environment

ROOT = Path(__file__).resolve().parents[2]
KINDS = "keepalive,handshakes,forged,strangers,large,last_byte,memory,idle,start,import,arrivals"
TINY = ("--rounds", "1", "--seconds", "0.4", "--large", "1", "--idle", "5", "--own-client", "--no-pin")


@pytest.mark.timeout(120)
def test_every_kind_of_workload_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.load", "--workloads", KINDS, "--peers", "hookward,floor", *TINY]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "last.json").read_text())
    assert list(result["workloads"]) == KINDS.split(",")
    for name, entry in result["workloads"].items():
        figures = entry["peers"]["hookward"]["summary"]
        assert set(WORKLOADS[name].figures) <= set(figures), name
        assert all(one["min"] <= one["median"] <= one["max"] for one in figures.values())
    assert result["workloads"]["forged"]["peers"]["floor"] == {"left_out": "checks no signature"}
    assert "| hookward |" in (tmp_path / "last.md").read_text()
    assert ET.parse(tmp_path / "last.svg").getroot().tag.endswith("svg")


def test_names_of_the_data_agree() -> None:
    assert {figure for workload in WORKLOADS.values() for figure in workload.figures} <= set(FIGURES)
    assert {target.workload for target in TARGETS} <= set(WORKLOADS)
    assert {target.figure for target in TARGETS} <= set(FIGURES)
    assert {target.peer for target in TARGETS} - {""} <= set(PEERS)
    assert {name for peer in PEERS.values() for name in (*peer.only_in, *peer.not_in)} <= set(WORKLOADS)


def test_what_is_missing_is_named() -> None:
    peer = Peer("none", "none", lambda place: [], ("no-such-program", Path("/no/such/module.so")))
    assert peer.missing() == "no-such-program is not installed: make bench-install"


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (Target("keepalive", "per_s", 4, None, "aiohttp"), 4.0, "met"),
        (Target("keepalive", "per_s", 0.55, 1, "nginx_lua"), 0.5, "missed"),
        (Target("keepalive", "per_s", 0.55, 1, "nginx_lua"), 0.7, "met"),
        (Target("keepalive", "per_s", 0.55, 1, "nginx_lua"), 1.1, "proud"),
        (Target("close", "per_s", None, 0.45, "nginx_lua"), 0.4, "not yet"),
        (Target("last_byte", "lag_ms", 0.5), 0.6, "missed"),
        (Target("last_byte", "lag_ms", 0.5), 0.4, "met"),
    ],
)
def test_verdicts_know_which_way_is_better(target: Target, value: float, verdict: str) -> None:
    assert target.verdict(value) == verdict


def test_ratios_are_to_the_peer_of_the_same_run() -> None:
    medians = {"keepalive": {"hookward": {"per_s": 12.0}, "aiohttp": {"per_s": 3.0}}}
    assert [(target.peer, value, verdict) for target, value, verdict in verdicts(medians)] == [("aiohttp", 4.0, "met")]


def test_a_report_of_one_peer_that_ran_and_one_that_did_not() -> None:
    rounds = [{"import_ms": 3.0}, {"import_ms": 1.0}, {"import_ms": 2.0}]
    peers = {"hookward": {"summary": summary(rounds), "rounds": rounds}, "caddy": {"left_out": "not in Python"}}
    entry = {"title": "import", "rounds": 3, "peers": peers}
    result = {"date": "2026-01-01", "command": "make bench", "machine": {"cores": 2}, "workloads": {"import": entry}}
    text = markdown(result)
    assert "| hookward | 2 (1 to 3) |" in text
    assert "| Caddy, no check | not in Python |" in text
    assert "Caddy" not in chart(result)
    ET.fromstring(chart(result))


def test_no_two_deliveries_of_a_load_have_a_content_a_signature_or_an_id_in_common() -> None:
    sent = [
        dict(line.split(b": ", 1) for line in one.splitlines()[1:-1] if line) | {b"": one.splitlines()[-1]}
        for one in delivery.several()
    ]
    for name in (b"", b"X-GitHub-Delivery", b"X-Hub-Signature", b"X-Hub-Signature-256", b"X-Trace"):
        assert len({one[name] for one in sent}) == len(sent) > 1
    assert {len(one) for one in delivery.several()} == {len(delivery.request(delivery.body()))}


def test_a_delivery_in_chunks_holds_the_same_content() -> None:
    content = delivery.body(40_000)
    whole, pieces = delivery.request(content), delivery.request(content, chunked=True)
    assert whole.endswith(content)
    assert CHUNKED.search(pieces)
    assert pieces.endswith(b"\r\n0\r\n\r\n")
    assert b"x" * (delivery.CHUNK + 1) not in pieces
