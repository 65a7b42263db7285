"""What every metric is: its name, kind, text and labels, in the order in which they are shown. Data."""

from __future__ import annotations

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


EXCHANGES = Family(
    "hookward_exchanges_total",
    "counter",
    "Exchanges that have ended, by the word of their reason.",
    ("route", "provider", "reason", "status_class"),
)
DURATION = Family(
    "hookward_exchange_duration_seconds",
    "histogram",
    "From the first byte of the request to the last byte of the answer.",
    ("route",),
)
UPSTREAM_DURATION = Family(
    "hookward_upstream_duration_seconds",
    "histogram",
    "From the first byte sent to the upstream to the last byte of its answer.",
    ("route",),
)
SENDER_BUDGET = Family(
    "hookward_sender_budget_used_ratio",
    "histogram",
    "What an exchange took of the time that its provider waits for an answer; above 1 the provider has given up.",
    ("route",),
    bounds=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
)
DELIVERIES = Family(
    "hookward_deliveries_total",
    "counter",
    "Deliveries that were admitted, by the type of their event: one of the route's `events`, or that the provider "
    'publishes; "other", or "none" where none is named.',
    ("route", "event"),
)
SECRET_USES = Family(
    "hookward_secret_uses_total", "counter", "Deliveries that a secret has admitted.", ("route", "secret")
)
SECRET_USED = Family(
    "hookward_secret_last_used_timestamp_seconds",
    "gauge",
    "When the newest delivery began that a secret has admitted, since the epoch; nothing where it was not used yet.",
    ("route", "secret"),
    "max",
    lasts=True,
)
REQUEST_BYTES = Family("hookward_request_bytes_total", "counter", "Content of requests, in bytes.", ("route",))
RESPONSE_BYTES = Family("hookward_response_bytes_total", "counter", "Content of answers, in bytes.", ("route",))
OBSERVED = Family(
    "hookward_observed_refusals_total",
    "counter",
    "Exchanges that would have been refused, had their route not only observed.",
    ("route", "reason"),
)
DIAGNOSES = Family("hookward_diagnoses_total", "counter", "Causes of refusals that were found.", ("route", "diagnosis"))
DIAGNOSES_WITHHELD = Family(
    "hookward_diagnoses_withheld_total",
    "counter",
    "Refusals whose cause was not looked for, because there were too many at once.",
    ("route",),
)
IN_FLIGHT = Family("hookward_exchanges_in_flight", "gauge", "Exchanges that have begun and not ended.")
BUFFERED = Family("hookward_buffered_bytes", "gauge", "Bytes reserved of the buffer budget.")
BUDGET = Family("hookward_buffer_budget_bytes", "gauge", "The limit of hookward_buffered_bytes.")
WAITING = Family("hookward_buffer_waiting_exchanges", "gauge", "Exchanges that wait for a part of the buffer budget.")
DUPLICATES = Family(
    "hookward_duplicate_keys", "gauge", "Keys of deliveries that this process remembers or has in flight."
)
DUPLICATE_FAILURES = Family(
    "hookward_duplicate_store_failures_total", "counter", "Times that the store of duplicates could not be asked."
)
QUEUE_DELIVERIES = Family(
    "hookward_queue_deliveries",
    "gauge",
    "Deliveries that are kept: waiting (those under way included), or dead letters.",
    ("route", "state"),
    "max",
)
QUEUE_OLDEST = Family(
    "hookward_queue_oldest_age_seconds",
    "gauge",
    "Since the oldest delivery that still waits was accepted; 0 where none does.",
    ("route",),
    "max",
)
QUEUE_PAUSED = Family("hookward_queue_paused", "gauge", "1 where nothing of a route is delivered.", ("route",), "max")
QUEUE_BYTES = Family(
    "hookward_queue_bytes", "gauge", "What all kept deliveries take, dead letters included.", (), "max"
)
QUEUE_LIMIT = Family("hookward_queue_limit_bytes", "gauge", "The limit of hookward_queue_bytes: max_bytes.", (), "max")
QUEUE_DURABLE = Family(
    "hookward_queue_durable",
    "gauge",
    "1 where what is kept survives a power failure, as far as the store can be asked.",
    (),
    "min",
)
QUEUE_ATTEMPTS = Family(
    "hookward_queue_attempts_total",
    "counter",
    "Attempts to deliver what was kept, by what came of them: delivered, waiting (for another one) or dead.",
    ("route", "outcome"),
)
QUEUE_COMMIT = Family(
    "hookward_queue_commit_duration_seconds",
    "histogram",
    "Transactions of the queue's store, until they were on stable storage.",
)
QUEUE_BATCH = Family(
    "hookward_queue_commit_changes",
    "histogram",
    "Changes that shared one transaction.",
    bounds=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
QUEUE_FAILURES = Family(
    "hookward_queue_store_failures_total", "counter", "Transactions of the queue's store that failed."
)
QUEUE_COPIES_LOST = Family(
    "hookward_queue_copies_lost_total",
    "counter",
    "Copies of deliveries that were not kept, because the store was full, slow or failed; the delivery itself went on.",
    ("route",),
)
CONNECTIONS = Family("hookward_connections", "gauge", "Open connections.", ("state",))
UPSTREAM_WAITING = Family(
    "hookward_upstream_waiting_exchanges", "gauge", "Exchanges that wait for a connection to their upstream."
)
TURN_WAITING = Family(
    "hookward_turn_waiting_exchanges",
    "gauge",
    "Exchanges that wait for their turn before the application, of routes with `concurrency` or `pace`.",
    ("route",),
)
UPSTREAM_UP = Family(
    "hookward_upstream_up", "gauge", "0 where an upstream is set aside, in at least one worker.", ("upstream",), "min"
)
TLS_HANDSHAKES = Family(
    "hookward_tls_handshakes_total", "counter", "TLS handshakes of clients, by how they ended.", ("result",)
)
TLS_FAILURES = Family(
    "hookward_tls_failures_total",
    "counter",
    "Connections of clients whose TLS failed, by cause.",
    ("cause",),
    known=tuple((word,) for word in TLS_WORDS),
)
AGENTS_ALIVE = Family(
    "hookward_agents_alive",
    "gauge",
    "Processes of an agent from which a probe of the application came through in the last 15 s.",
    ("agent",),
)
AGENT_CONNECTIONS = Family(
    "hookward_agent_connections", "gauge", "Connections that an agent has made and that serve its routes.", ("agent",)
)
RELAY_REACHED = Family(
    "hookward_relay_reached", "gauge", "Whether every worker of a relay is reached, at an agent.", ("relay",), "min"
)
CERTIFICATE_EXPIRY = Family(
    "hookward_certificate_expiry_timestamp_seconds",
    "gauge",
    "When the certificate in force expires, since the epoch.",
    ("certificate",),
    "min",
)
SECRET_EXPIRY = Family(
    "hookward_secret_expiry_timestamp_seconds",
    "gauge",
    "When a secret with an end expires, since the epoch.",
    ("route", "secret"),
    "max",
)
ACCEPTED = Family("hookward_connections_accepted_total", "counter", "Connections that passed the checks at accept.")
ACCEPT_REFUSED = Family(
    "hookward_accept_refused_total",
    "counter",
    "Connections that were ended before their first request.",
    ("cause",),
    known=(("address",),),
)
ACCEPT_PAUSES = Family(
    "hookward_accept_pauses_total", "counter", "Times that the host had no descriptor or memory for a connection."
)
KERNEL_FILTERS = Family(
    "hookward_kernel_filters",
    "gauge",
    "Listening sockets whose kernel drops addresses that no list admits.",
    merge="max",
)
KERNEL_DROPPED = Family(
    "hookward_kernel_dropped_packets",
    "gauge",
    "Packets that the kernel has dropped at the listening sockets: by the kernel filter, or because a queue was full.",
    merge="max",
)
TCP_OPEN = Family("hookward_tcp_connections", "gauge", "Open pipes of a plain TCP forward.", ("forward",))
TCP_OPENED = Family("hookward_tcp_opened_total", "counter", "Pipes that were opened.", ("forward",))
TCP_FAILED = Family(
    "hookward_tcp_dial_failures_total",
    "counter",
    "Connections that were ended because their upstream could not be reached.",
    ("forward",),
)
TCP_BYTES = Family("hookward_tcp_bytes_total", "counter", "Bytes that were passed on.", ("forward", "direction"))
RELOADS = Family(
    "hookward_reloads_total",
    "counter",
    "Reloads of the configuration.",
    ("result",),
    known=(("done",), ("refused",)),
)
RELOAD_GOOD = Family(
    "hookward_last_reload_successful", "gauge", "0 where the last reload was refused and the old configuration stays."
)
WORKERS = Family("hookward_workers", "gauge", "Worker processes, by what they do.", ("state",))
WORKER_EXITS = Family(
    "hookward_worker_exits_total", "counter", "Worker processes that ended without having been told to.", ("cause",)
)
GENERATION = Family("hookward_policy_generation", "gauge", "Number of the configuration in force.", merge="max")
LOG_DROPPED = Family(
    "hookward_log_lines_dropped_total", "counter", "Lines of the access log that its sink did not take in time."
)
LOG_WITHHELD = Family(
    "hookward_log_lines_withheld_total", "counter", "Refusals that were given no line of their own in the access log."
)
JOURNAL_DROPPED = Family(
    "hookward_journal_lines_dropped_total",
    "counter",
    "Messages of the process itself that standard error did not take in time, in lines.",
)
SET_AGE = Family(
    "hookward_address_set_age_seconds",
    "gauge",
    "Since the feed of a published address set was last known to say what is in force.",
    ("set",),
    "max",
)
SET_PREFIXES = Family(
    "hookward_address_set_prefixes",
    "gauge",
    "Prefixes of a published address set; with 0 no address is admitted.",
    ("set",),
    "max",
)
SET_REFRESHES = Family(
    "hookward_address_set_refreshes_total",
    "counter",
    "Times that a feed was asked, by what came of it.",
    ("set", "result"),
)
STARTED = Family("hookward_start_time_seconds", "gauge", "Start of the process since the epoch.", merge="max")
BUILD = Family("hookward_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "python"), "max")

#: All of them, in the order in which they are written above.
FAMILIES = tuple(each for each in tuple(globals().values()) if isinstance(each, Family))
BY_NAME = {family.name: family for family in FAMILIES}
