"""The workloads as data: what is sent, which figures come of it, which of them is the headline, and how it is measured.

A measurement takes a running peer, or, where each round needs a fresh process, starts one; it gives one round's
figures.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from time import monotonic, sleep

from bench.load import delivery
from bench.load.bodies import send_bodies
from bench.load.closed import closed_loop
from bench.load.idle import settle
from bench.load.open_loop import open_loop
from bench.load.process import FailedError, Server, Usage, pinned
from bench.load.refused import knock
from bench.load.stage import Stage, check, check_refuses, post
from bench.peers.catalogue import ROOT, Peer

MIB = 1 << 20
PACE = 50 * MIB
IDLE_S = 2.0
SETTLE_S = 10.0
FORGER = b"guess"
Figures = dict[str, float]


@dataclass(frozen=True)
class Figure:
    """One column: its title, how it is written, and whether more of it is better."""

    title: str
    shape: str
    more_is_better: bool = False


FIGURES = {
    "per_s": Figure("requests/s", "{:,.0f}", more_is_better=True),
    "cpu_us": Figure("CPU µs per request (= ms per 1,000)", "{:,.1f}"),
    "cpu_us_connection": Figure("CPU µs per connection", "{:,.1f}"),
    "user_us_connection": Figure("of it user µs", "{:,.1f}"),
    "closed_percent": Figure("closed by the proxy, %", "{:.0f}", more_is_better=True),
    "mib_per_s": Figure("MiB/s", "{:,.0f}", more_is_better=True),
    "cpu_ms_mib": Figure("CPU ms per MiB", "{:.2f}"),
    "lag_ms": Figure("last byte to complete at the origin, ms", "{:.2f}"),
    "lag_max_ms": Figure("the longest, ms", "{:.2f}"),
    "p50_us": Figure("p50 µs", "{:,.0f}"),
    "p99_us": Figure("p99 µs", "{:,.0f}"),
    "p999_us": Figure("p99.9 µs", "{:,.0f}"),
    "max_us": Figure("max µs", "{:,.0f}"),
    "answered_per_s": Figure("answered/s", "{:,.0f}", more_is_better=True),
    "rest_rss_mib": Figure("RSS at rest, MiB", "{:.0f}"),
    "peak_rss_mib": Figure("peak RSS, MiB", "{:.0f}"),
    "grown_rss_mib": Figure("peak above rest, MiB", "{:.1f}"),
    "connections": Figure("connections", "{:,.0f}", more_is_better=True),
    "kib_connection": Figure("KiB per connection", "{:.1f}"),
    "idle_cpu_ms": Figure("CPU ms per second while idle", "{:.2f}"),
    "start_ms": Figure("start to first answer, ms", "{:,.0f}"),
    "import_ms": Figure("import, ms", "{:,.0f}"),
    "per_s_2": Figure("requests/s, 2 workers", "{:,.0f}", more_is_better=True),
    "cpu_us_2": Figure("CPU µs per request, 2 workers", "{:,.1f}"),
    "scaling": Figure("2 workers over 1, by CPU", "{:.2f}", more_is_better=True),
}


@dataclass(frozen=True)
class Workload:
    """``measure`` gives one round; ``fresh``: it starts the peer itself; ``everyone``: not only the main peers."""

    name: str
    title: str
    figures: tuple[str, ...]  # the first is the headline
    measure: Callable[..., Figures]
    tls: bool = False
    fresh: bool = False
    everyone: bool = False
    large: bool = False
    chunked: bool = False
    strangers: bool = False
    max_rounds: int = 99

    def excludes(self, peer: Peer) -> str:
        """Why a peer has no part in it; "" if it has."""
        if self.name in peer.not_in:
            return peer.not_in[self.name]
        if self.tls and not peer.tls:
            return "no TLS"
        if self.large and peer.max_body is not None:
            return f"bodies of {peer.max_body // 1024} KiB at most"
        if self.strangers and not peer.judges_addresses:
            return "judges no addresses"
        if self.name == "workers" and not peer.workers:
            return "not measured with more than one worker"
        if self.name == "import" and peer.imports is None:
            return "not in Python"
        if self.name == "forged" and not peer.guards:
            return "checks no signature"
        return ""

    def proof(self, stage: Stage, peer: Peer, server: Server) -> None:
        """FailedError if the peer does not do its work on what this workload sends."""
        size = stage.scale.large_bytes if self.large else delivery.SIZE
        genuine, forged = (wire(size, secret=secret, chunked=self.chunked) for secret in (delivery.SECRET, FORGER))
        check(peer, server, stage.origin, genuine, forged, tls=self.tls)
        if self.strangers:
            check_refuses(server, stage.origin, genuine)


@lru_cache(maxsize=4)
def wire(size: int, *, secret: bytes = delivery.SECRET, chunked: bool = False) -> bytes:
    return delivery.request(delivery.body(size), secret=secret, chunked=chunked)


def per(before: Usage, after: Usage, units: float, scale: float) -> float:
    """CPU between two looks, for each unit."""
    return (after.cpu_s - before.cpu_s) / units * scale


def closed(
    stage: Stage, peer: Peer, server: Server, *, connections: int, forged: bool = False, own: bool = False, **how: bool
) -> Figures:
    """Closed loop on so many connections; ``own`` where wrk will not do."""
    scale = stage.scale
    secret = FORGER if forged else delivery.SECRET
    before = server.usage()
    load = closed_loop(
        server.port, connections, scale.seconds, scale.folder, secret=secret, cores=scale.load_core,
        own=own or scale.own_client or peer.own_client, **how,
    )  # fmt: skip
    after = server.usage()
    requests = load["requests"]
    wrong = requests - load["refused"] if forged else load["refused"]
    # A refusal may close the connection under a body that is still on its way.
    if not requests or wrong or (load["socket_errors"] and not forged):
        raise FailedError(f"errors under load: {load}")
    return {
        "per_s": requests / (load["duration_us"] / 1e6),
        "cpu_us": per(before, after, requests, 1e6),
        "p50_us": load["p50_us"],
        "p99_us": load["p99_us"],
        "p999_us": load["p999_us"],
        "peak_rss_mib": after.peak_rss_bytes / MIB,
    }


def strangers(stage: Stage, peer: Peer, server: Server, *, silent: bool) -> Figures:
    """Connections that may not pass."""
    data = b"" if silent else wire(delivery.SIZE)
    before = server.usage()
    load = knock(server.port, stage.scale.seconds, data)
    after = server.usage()
    return {
        "cpu_us_connection": per(before, after, load["connections"], 1e6),
        "user_us_connection": (after.user_s - before.user_s) / load["connections"] * 1e6,
        "closed_percent": load["closed"] / load["connections"] * 100,
    }


def bodies(
    stage: Stage, peer: Peer, server: Server, *, senders: int, chunked: bool = False, rate: int = 0, least: int = 1
) -> Figures:
    """Large deliveries, so many at once."""
    sleep(0.05)  # what the last round left is freed
    server.forget_peak()
    before = server.usage()
    data = wire(stage.scale.large_bytes, chunked=chunked)
    load = send_bodies(server.port, data, senders, stage.scale.seconds, rate, least)
    after = server.usage()
    sent_mib = load["deliveries"] * len(data) / MIB
    return {
        "mib_per_s": load["bytes_per_s"] / MIB,
        "cpu_ms_mib": per(before, after, sent_mib, 1e3),
        "lag_ms": load["lag_ms"],
        "lag_max_ms": load["lag_max_ms"],
        "rest_rss_mib": before.rss_bytes / MIB,
        "peak_rss_mib": after.peak_rss_bytes / MIB,
        "grown_rss_mib": (after.peak_rss_bytes - before.rss_bytes) / MIB,
    }


def memory(stage: Stage, peer: Peer) -> Figures:
    """A fresh process, 8 large deliveries at once, once."""
    with stage.running(peer) as server:
        post(server.port, wire(delivery.SIZE))
        return bodies(stage, peer, server, senders=8)


def idle(stage: Stage, peer: Peer, *, tls: bool = False) -> Figures:
    """A fresh process, thousands of connections that have made one delivery each and are silent."""
    data = wire(delivery.SIZE)
    with stage.running(peer, tls=tls) as server:
        post(server.port, data, tls=tls)
        rest = server.usage()
        made = settle(server.port, stage.scale.idle_connections, data, SETTLE_S, tls=tls)
        try:
            before = server.usage()
            sleep(min(IDLE_S, stage.scale.seconds * 2))
            after = server.usage()
        finally:
            for sock in made:
                sock.close()
        slept = min(IDLE_S, stage.scale.seconds * 2)
        return {
            "kib_connection": (after.rss_bytes - rest.rss_bytes) / 1024 / len(made),
            "idle_cpu_ms": (after.cpu_s - before.cpu_s) / slept * 1e3,
            "connections": float(len(made)),
        }


def begin(stage: Stage, peer: Peer) -> Figures:
    """From the start of the process until a delivery is answered 200."""
    data = wire(delivery.SIZE)
    started = monotonic()
    with stage.running(peer) as server:
        while post(server.port, data) != 200:
            if monotonic() - started > 20:
                raise FailedError("no answer within 20 s of the start")
        return {"start_ms": (monotonic() - started) * 1e3}


def importing(stage: Stage, peer: Peer) -> Figures:
    """What the imports take, in an interpreter of their own."""
    assert peer.imports is not None
    interpreter, modules = peer.imports
    code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    command = pinned([interpreter or stage.scale.python, "-c", code], stage.scale.proxy_core)
    away = stage.scale.folder if interpreter else ROOT  # where ``proxy`` is not hookward
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, cwd=away)
    return {"import_ms": float(done.stdout) * 1e3}


def arrivals(stage: Stage, peer: Peer, server: Server, *, per_s: float) -> Figures:
    """Open loop: so many a second, come what may."""
    return open_loop(server.port, wire(delivery.SIZE), per_s, max(stage.scale.seconds, 0.2))


@contextlib.contextmanager
def pair(stage: Stage, peer: Peer) -> Iterator[list[Server]]:
    with stage.running(peer) as one, stage.running(peer, workers=2) as two:
        yield [one, two]


def workers(stage: Stage, peer: Peer) -> Figures:
    """One worker on its core, then two on two cores, which the load shares: CPU for each delivery tells the scaling."""
    with pair(stage, peer) as (one, two):
        single, double = (closed(stage, peer, server, connections=64) for server in (one, two))
    return {
        "scaling": 2 * single["cpu_us"] / double["cpu_us"],
        "per_s": single["per_s"],
        "per_s_2": double["per_s"],
        "cpu_us": single["cpu_us"],
        "cpu_us_2": double["cpu_us"],
    }


LOAD = ("per_s", "cpu_us", "p50_us", "p99_us", "p999_us", "peak_rss_mib")
REFUSED = ("cpu_us_connection", "user_us_connection", "closed_percent")
BODIES = ("mib_per_s", "cpu_ms_mib", "rest_rss_mib", "peak_rss_mib")
IDLE = ("kib_connection", "idle_cpu_ms", "connections")
LAG = ("lag_ms", "lag_max_ms", "mib_per_s")

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            "keepalive",
            "8 KiB signed, keep-alive, 32 connections",
            LOAD,
            partial(closed, connections=32),
            everyone=True,
        ),
        Workload("keepalive_256", "8 KiB signed, keep-alive, 256 connections", LOAD, partial(closed, connections=256)),
        Workload("close", "8 KiB signed, a connection for each", LOAD, partial(closed, connections=32, close=True)),
        Workload("tls", "8 KiB signed, TLS, keep-alive", LOAD, partial(closed, connections=32, tls=True), tls=True),
        Workload(
            "handshakes",
            "8 KiB signed, a full TLS handshake for each",
            ("cpu_us", "per_s", "p50_us", "p99_us"),
            # wrk resumes its sessions: all but the first handshake would be half of one.
            partial(closed, connections=32, tls=True, close=True, own=True),
            tls=True,
        ),
        Workload("forged", "8 KiB, wrong signature", LOAD, partial(closed, connections=32, forged=True)),
        Workload("strangers", "refused peers that send", REFUSED, partial(strangers, silent=False), strangers=True),
        Workload("silent", "refused peers that are silent", REFUSED, partial(strangers, silent=True), strangers=True),
        Workload("large", "25 MiB signed, 1 at a time", BODIES, partial(bodies, senders=1), everyone=True, large=True),
        Workload("large_8", "25 MiB signed, 8 at once", BODIES, partial(bodies, senders=8), large=True),
        Workload(
            "large_chunked",
            "25 MiB signed, chunks of 16 KiB, 1 at a time",
            BODIES,
            partial(bodies, senders=1, chunked=True),
            large=True,
            chunked=True,
        ),
        Workload(
            "large_chunked_8",
            "25 MiB signed, chunks of 16 KiB, 8 at once",
            BODIES,
            partial(bodies, senders=8, chunked=True),
            large=True,
            chunked=True,
        ),
        Workload(
            "last_byte",
            "25 MiB at 50 MiB/s, 1 sender",
            LAG,
            partial(bodies, senders=1, rate=PACE, least=3),
            large=True,
            max_rounds=3,
        ),
        Workload(
            "last_byte_8",
            "25 MiB at 50 MiB/s, 8 senders",
            LAG,
            partial(bodies, senders=8, rate=PACE),
            large=True,
            max_rounds=3,
        ),
        Workload(
            "memory",
            "8 x 25 MiB, a fresh process",
            ("grown_rss_mib", "rest_rss_mib", "peak_rss_mib"),
            memory,
            fresh=True,
            large=True,
            max_rounds=2,
        ),
        Workload("idle", "idle connections", IDLE, idle, fresh=True, max_rounds=2),
        Workload("idle_tls", "idle TLS connections", IDLE, partial(idle, tls=True), tls=True, fresh=True, max_rounds=1),
        Workload("start", "start to first answer", ("start_ms",), begin, fresh=True),
        Workload("import", "import", ("import_ms",), importing, fresh=True),
        Workload("latency", "1 connection", ("p50_us", "p99_us", "per_s"), partial(closed, connections=1)),
        Workload(
            "arrivals",
            "1,000 a second, open loop",
            ("p99_us", "p50_us", "max_us", "answered_per_s"),
            partial(arrivals, per_s=1000),
        ),
        Workload(
            "workers",
            "2 workers over 1, 64 connections",
            ("scaling", "per_s", "per_s_2", "cpu_us", "cpu_us_2"),
            workers,
            fresh=True,
            max_rounds=3,
        ),
    )
}
