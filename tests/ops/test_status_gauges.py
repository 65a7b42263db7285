"""Every number of the site shows up in the metrics."""

from __future__ import annotations

import asyncio
import socket

from prometheus_client.parser import text_string_to_metric_families

from proxy.config.load import load
from proxy.core.budget import ANYBODY
from proxy.core.metrics import Metrics
from proxy.core.policy import Endpoint
from proxy.net.access_log import AccessLog
from proxy.net.admission import ConnectionSlots
from proxy.net.log_formats import JsonLines
from proxy.net.site import Site
from proxy.net.tcp_forward import TcpForward
from proxy.ops.listeners import Listeners, ListenerSpec
from proxy.ops.places import SocketStore
from proxy.ops.status import measure


def test_what_others_count_is_taken_over():
    loaded = load(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"], {}, generation=3)

    async def main() -> bytes:
        metrics = Metrics()
        loop = asyncio.get_running_loop()
        log = AccessLog(None, JsonLines(), loop)
        site = Site(loop=loop, policy=loaded.policy, log=log, metrics=metrics, instance="abcd")
        slots = ConnectionSlots()
        counters = slots.counters
        counters.accepted, counters.refused_address, counters.refused_full = 11, 12, 13
        counters.refused_per_address, counters.proxy_header_failed, counters.tls_failed = 14, 15, 16
        counters.accept_paused, counters.open = 17, 18
        counters.refused_handshakes = 20
        site.exchanges = 1
        site.budget.reserve(ANYBODY, lambda: None).hold(1000)
        listeners = Listeners(SocketStore({}))

        def serve(sock: socket.socket) -> TcpForward:
            return TcpForward(sock, site=site, slots=slots, upstream=Endpoint("127.0.0.1", 1), allow=None)

        listeners.change([ListenerSpec("ssh", loaded.settings.listen[0], "tcp", serve)])
        server = listeners.open[0].server
        assert isinstance(server, TcpForward)
        server.counters.opened, server.counters.open, server.counters.dial_failed = 21, 22, 23
        server.counters.bytes_in, server.counters.bytes_out = 24, 25
        measure(site, slots, 19, listeners.open)
        listeners.stop()
        site.clock.close()
        return metrics.expose()

    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(asyncio.run(main()).decode())
        for sample in family.samples
    }
    for key, value in {
        ("hookward_connections_accepted_total",): 11,
        ("hookward_accept_refused_total", "address"): 12,
        ("hookward_accept_refused_total", "connections"): 13,
        ("hookward_accept_refused_total", "connections_per_address"): 14,
        ("hookward_accept_refused_total", "handshakes"): 20,
        ("hookward_accept_refused_total", "proxy_header"): 15,
        ("hookward_accept_refused_total", "tls"): 16,
        ("hookward_accept_pauses_total",): 17,
        ("hookward_connections", "client"): 18,
        ("hookward_connections", "upstream_idle"): 0,
        ("hookward_log_lines_dropped_total",): 19,
        ("hookward_policy_generation",): 3,
        ("hookward_exchanges_in_flight",): 1,
        ("hookward_buffered_bytes",): 1000,
        ("hookward_buffer_budget_bytes",): 256 * 1024 * 1024,
        ("hookward_buffer_waiting_exchanges",): 0,
        ("hookward_tcp_opened_total", "ssh"): 21,
        ("hookward_tcp_connections", "ssh"): 22,
        ("hookward_tcp_dial_failures_total", "ssh"): 23,
        ("hookward_tcp_bytes_total", "ssh", "in"): 24,
        ("hookward_tcp_bytes_total", "ssh", "out"): 25,
    }.items():
        assert found[key] == value, key
    assert found[("hookward_start_time_seconds",)] > 1_700_000_000
