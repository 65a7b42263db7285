"""What every metric is: its name, kind, text and labels, in the order in which they are shown; and what is known of a
route before anything is counted. Data.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from proxy.core.setup_faults import TLS_WORDS
from proxy.values import frozen

#: Upper bounds in seconds: from "answered from memory" to the longest time-outs of providers (10 s) and ours (90 s).
DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0)


@frozen
class Family:
    """What is known of a metric before anything is counted. ``merge`` says how workers are put together."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    text: str
    labels: tuple[str, ...] = ()
    merge: str = "sum"  # or "max", "min": what all workers share
    bounds: tuple[float, ...] = DURATION_BOUNDS  # of a histogram
    #: Label values that are shown at 0 from the start: of a series that appears with its first event no rate is known.
    known: tuple[tuple[str, ...], ...] = ()
    lasts: bool = False  # of a gauge: it also holds of a worker that is gone


@frozen
class Traits:
    """What is known of a route before anything is counted: the values that its labels may have, and how long its
    provider waits for an answer; 0 where that is not known. Other types of events count as others, other secrets not.
    """

    answer_s: float = 0.0
    events: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()


def _family(kind: str, series: str, text: str, **rest: Any) -> Family:
    """The family of ``name{label,label}``, as samples of it are shown."""
    name, _, labels = series.rstrip("}").partition("{")
    return Family(name, kind, text, tuple(labels.split(",")) if labels else (), **rest)


_counter, _gauge, _histogram = (partial(_family, kind) for kind in ("counter", "gauge", "histogram"))


EXCHANGES = _counter(
    "hookward_exchanges_total{route,provider,reason,status_class}",
    "Exchanges that have ended, by the word of their reason.",
)
DURATION = _histogram(
    "hookward_exchange_duration_seconds{route}", "From the first byte of the request to the last byte of the answer."
)
UPSTREAM_DURATION = _histogram(
    "hookward_upstream_duration_seconds{route}",
    "From the first byte sent to the upstream to the last byte of its answer.",
)
SENDER_BUDGET = _histogram(
    "hookward_sender_budget_used_ratio{route}",
    "What an exchange took of the time that its provider waits for an answer; above 1 the provider has given up.",
    bounds=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
)
DELIVERIES = _counter(
    "hookward_deliveries_total{route,event}",
    "Deliveries that were admitted, by the type of their event: one of the route's `events`, or that the provider "
    'publishes; "other", or "none" where none is named.',
)
SECRET_USES = _counter("hookward_secret_uses_total{route,secret}", "Deliveries that a secret has admitted.")
SECRET_USED = _gauge(
    "hookward_secret_last_used_timestamp_seconds{route,secret}",
    "When the newest delivery began that a secret has admitted, since the epoch; nothing where it was not used yet.",
    merge="max",
    lasts=True,
)
REQUEST_BYTES = _counter("hookward_request_bytes_total{route}", "Content of requests, in bytes.")
RESPONSE_BYTES = _counter("hookward_response_bytes_total{route}", "Content of answers, in bytes.")
OBSERVED = _counter(
    "hookward_observed_refusals_total{route,reason}",
    "Exchanges that would have been refused, had their route not only observed.",
)
DIAGNOSES = _counter("hookward_diagnoses_total{route,diagnosis}", "Causes of refusals that were found.")
DIAGNOSES_WITHHELD = _counter(
    "hookward_diagnoses_withheld_total{route}",
    "Refusals whose cause was not looked for, because there were too many at once.",
)
IN_FLIGHT = _gauge("hookward_exchanges_in_flight", "Exchanges that have begun and not ended.")
BUFFERED = _gauge("hookward_buffered_bytes", "Bytes reserved of the buffer budget.")
BUDGET = _gauge("hookward_buffer_budget_bytes", "The limit of hookward_buffered_bytes.")
WAITING = _gauge("hookward_buffer_waiting_exchanges", "Exchanges that wait for a part of the buffer budget.")
DUPLICATES = _gauge("hookward_duplicate_keys", "Keys of deliveries that this process remembers or has in flight.")
DUPLICATE_FAILURES = _counter(
    "hookward_duplicate_store_failures_total", "Times that the store of duplicates could not be asked."
)
QUEUE_DELIVERIES = _gauge(
    "hookward_queue_deliveries{route,state}",
    "Deliveries that are kept: waiting (those under way included), or dead letters.",
    merge="max",
)
QUEUE_OLDEST = _gauge(
    "hookward_queue_oldest_age_seconds{route}",
    "Since the oldest delivery that still waits was accepted; 0 where none does.",
    merge="max",
)
QUEUE_PAUSED = _gauge("hookward_queue_paused{route}", "1 where nothing of a route is delivered.", merge="max")
QUEUE_BYTES = _gauge("hookward_queue_bytes", "What all kept deliveries take, dead letters included.", merge="max")
QUEUE_LIMIT = _gauge("hookward_queue_limit_bytes", "The limit of hookward_queue_bytes: max_bytes.", merge="max")
QUEUE_DURABLE = _gauge(
    "hookward_queue_durable",
    "1 where what is kept survives a power failure, as far as the store can be asked.",
    merge="min",
)
QUEUE_ATTEMPTS = _counter(
    "hookward_queue_attempts_total{route,outcome}",
    "Attempts to deliver what was kept, by what came of them: delivered, waiting (for another one) or dead.",
)
QUEUE_COMMIT = _histogram(
    "hookward_queue_commit_duration_seconds", "Transactions of the queue's store, until they were on stable storage."
)
QUEUE_BATCH = _histogram(
    "hookward_queue_commit_changes", "Changes that shared one transaction.", bounds=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
QUEUE_FAILURES = _counter("hookward_queue_store_failures_total", "Transactions of the queue's store that failed.")
QUEUE_COPIES_LOST = _counter(
    "hookward_queue_copies_lost_total{route}",
    "Copies of deliveries that were not kept, because the store was full, slow or failed; the delivery itself went on.",
)
CONNECTIONS = _gauge("hookward_connections{state}", "Open connections.")
UPSTREAM_WAITING = _gauge(
    "hookward_upstream_waiting_exchanges", "Exchanges that wait for a connection to their upstream."
)
TURN_WAITING = _gauge(
    "hookward_turn_waiting_exchanges{route}",
    "Exchanges that wait for their turn before the application, of routes with `concurrency` or `pace`.",
)
UPSTREAM_UP = _gauge(
    "hookward_upstream_up{upstream}", "0 where an upstream is set aside, in at least one worker.", merge="min"
)
TLS_HANDSHAKES = _counter("hookward_tls_handshakes_total{result}", "TLS handshakes of clients, by how they ended.")
TLS_FAILURES = _counter(
    "hookward_tls_failures_total{cause}",
    "Connections of clients whose TLS failed, by cause.",
    known=tuple((word,) for word in TLS_WORDS),
)
AGENTS_ALIVE = _gauge(
    "hookward_agents_alive{agent}",
    "Processes of an agent from which a probe of the application came through in the last 15 s.",
)
AGENT_CONNECTIONS = _gauge(
    "hookward_agent_connections{agent}", "Connections that an agent has made and that serve its routes."
)
#: "key": it has not the agent's key, or not any more; "room": too many at once; "time": not said in time; "tls": a TLS
#: before 1.3; "talk": not understood; "closed": by the other end before it had said who it is.
HELLO_CAUSES = ("key", "room", "time", "tls", "talk", "closed")
AGENT_HELLOS_FAILED = _counter(
    "hookward_agent_hellos_failed_total{cause}",
    "Connections for agents that came to nothing, by cause.",
    known=tuple((cause,) for cause in HELLO_CAUSES),
)
RELAY_REACHED = _gauge(
    "hookward_relay_reached{relay}", "Whether every worker of a relay is reached, at an agent.", merge="min"
)
CERTIFICATE_EXPIRY = _gauge(
    "hookward_certificate_expiry_timestamp_seconds{certificate}",
    "When the certificate in force expires, since the epoch.",
    merge="min",
)
SECRET_EXPIRY = _gauge(
    "hookward_secret_expiry_timestamp_seconds{route,secret}",
    "When a secret with an end expires, since the epoch.",
    merge="max",
)
ACCEPTED = _counter("hookward_connections_accepted_total", "Connections that passed the checks at accept.")
ACCEPT_REFUSED = _counter(
    "hookward_accept_refused_total{cause}",
    "Connections that were ended before their first request.",
    known=(("address",),),
)
ACCEPT_PAUSES = _counter(
    "hookward_accept_pauses_total", "Times that the host had no descriptor or memory for a connection."
)
KERNEL_FILTERS = _gauge(
    "hookward_kernel_filters", "Listening sockets whose kernel drops addresses that no list admits.", merge="max"
)
KERNEL_DROPPED = _gauge(
    "hookward_kernel_dropped_packets",
    "Packets that the kernel has dropped at the listening sockets: by the kernel filter, or because a queue was full.",
    merge="max",
)
TCP_OPEN = _gauge("hookward_tcp_connections{forward}", "Open pipes of a plain TCP forward.")
TCP_OPENED = _counter("hookward_tcp_opened_total{forward}", "Pipes that were opened.")
TCP_FAILED = _counter(
    "hookward_tcp_dial_failures_total{forward}",
    "Connections that were ended because their upstream could not be reached.",
)
TCP_BYTES = _counter("hookward_tcp_bytes_total{forward,direction}", "Bytes that were passed on.")
RELOADS = _counter("hookward_reloads_total{result}", "Reloads of the configuration.", known=(("done",), ("refused",)))
RELOAD_GOOD = _gauge(
    "hookward_last_reload_successful", "0 where the last reload was refused and the old configuration stays."
)
WORKERS = _gauge("hookward_workers{state}", "Worker processes, by what they do.")
WORKER_EXITS = _counter(
    "hookward_worker_exits_total{cause}", "Worker processes that ended without having been told to."
)
GENERATION = _gauge("hookward_policy_generation", "Number of the configuration in force.", merge="max")
LOG_DROPPED = _counter(
    "hookward_log_lines_dropped_total", "Lines of the access log that its sink did not take in time."
)
LOG_WITHHELD = _counter(
    "hookward_log_lines_withheld_total", "Refusals that were given no line of their own in the access log."
)
JOURNAL_DROPPED = _counter(
    "hookward_journal_lines_dropped_total",
    "Messages of the process itself that standard error did not take in time, in lines.",
)
SET_AGE = _gauge(
    "hookward_address_set_age_seconds{set}",
    "Since the feed of a published address set was last known to say what is in force.",
    merge="max",
)
SET_PREFIXES = _gauge(
    "hookward_address_set_prefixes{set}",
    "Prefixes of a published address set; with 0 no address is admitted.",
    merge="max",
)
SET_REFRESHES = _counter(
    "hookward_address_set_refreshes_total{set,result}", "Times that a feed was asked, by what came of it."
)
STARTED = _gauge("hookward_start_time_seconds", "Start of the process since the epoch.", merge="max")
BUILD = _gauge("hookward_build_info{version,python}", "Always 1; the labels say what runs.", merge="max")

#: All of them, in the order in which they are written above.
FAMILIES = tuple(each for each in tuple(globals().values()) if isinstance(each, Family))
BY_NAME = {family.name: family for family in FAMILIES}
