"""The keys of ``[limits]``: each with default, range and what happens at the limit; part of ``config.schema``."""

from __future__ import annotations

from proxy.config import kinds
from proxy.config.keys import Key

LIMITS = (
    Key("max_body", kinds.SIZE, "Content of one request.", "25MiB", minimum="1B", maximum="1TiB", tighten=True,
        at_limit="413 `body_too_large`, from the declared length at once", flag="max-body"),
    Key("max_target", kinds.SIZE, "The request target.", "8KiB", minimum="64B", maximum="64KiB",
        at_limit="414 `target_too_long`", flag="max-target"),
    Key("max_head", kinds.SIZE, "The whole head of a request.", "16KiB", minimum="512B", maximum="1MiB",
        at_limit="431 `head_too_large`", flag="max-head"),
    Key("max_fields", kinds.COUNT, "Field lines in a head.", 100, minimum=4, maximum=1000,
        at_limit="431 `head_too_large`", flag="max-fields"),
    Key("max_connections", kinds.COUNT, "Connections of all peers.", 10000, minimum=1, maximum=1_000_000,
        at_limit="further ones are closed at accept", flag="max-connections"),
    Key("max_connections_per_address", kinds.COUNT, "Connections of one address; IPv6 is counted per /64.", 256,
        minimum=1, maximum=1_000_000, at_limit="further ones are closed at accept", flag="max-connections-per-address"),
    Key("reserved_share", kinds.COUNT, "Percent of `max_connections`, `max_handshakes`, `max_exchanges`, "
        "`buffer_budget` and `spill_budget` that is kept for addresses with an `allow` list, where other routes let "
        "everybody connect; plain TCP leaves it of `max_connections` to the routes.", 10, minimum=0, maximum=90,
        at_limit="for strangers these limits are lower by so much", flag="reserved-share"),
    Key("max_requests_per_connection", kinds.COUNT, "Requests of one connection.", 10000, minimum=1,
        maximum=1_000_000_000, at_limit="the last answer says `Connection: close`", flag="max-requests-per-connection"),
    Key("max_exchanges", kinds.COUNT, "Requests that are being received, forwarded or answered at once.", 4096,
        minimum=1, maximum=1_000_000, at_limit="503 `overloaded` by the head alone", flag="max-exchanges"),
    Key("max_handshakes", kinds.COUNT, "TLS handshakes under way at once.", 2000, minimum=1, maximum=1_000_000,
        at_limit="further connections are closed at accept", flag="max-handshakes"),
    Key("buffer_budget", kinds.SIZE, "Bytes held for all exchanges together; of it one address, or one /64, "
        "has at most an eighth.", "256MiB", minimum="64KiB",
        maximum="1TiB", at_limit="senders wait their turn, then 503 `overloaded`", flag="buffer-budget"),
    Key("hold_window", kinds.SIZE, "Of one body, held in memory before the verdict.", "256KiB", minimum="1B",
        maximum="1GiB", tighten=True, at_limit="`tail` begins to stream; `hold` goes on in a temporary file",
        flag="hold-window"),
    Key("spill_budget", kinds.SIZE, "Bytes in temporary files, of all bodies in `hold` together; a single one that is "
        "larger finds no room, and several of one address, or one /64, have at most an eighth.", "1GiB",
        minimum="64KiB", maximum="64TiB", at_limit="503 `overloaded`",
        flag="spill-budget"),
    Key("tls_timeout", kinds.TIME, "For the TLS handshake.", "10s", minimum="10ms", maximum="1h",
        at_limit="the connection is closed", flag="tls-timeout"),
    Key("head_timeout", kinds.TIME, "From the first byte of a head (for the first request: from accept) to its end.",
        "10s", minimum="10ms", maximum="1h", at_limit="408 `head_timeout`; closed silently if no byte came",
        flag="head-timeout"),
    Key("body_min_rate", kinds.SIZE, "Least bytes per second of a body, after a grace of 5 s; 0 is off.", "512B",
        minimum="0B", maximum="1GiB", at_limit="408 `body_timeout`", flag="body-min-rate"),
    Key("body_timeout", kinds.TIME, "For the whole body.", "60s", minimum="10ms", maximum="1d", tighten=True,
        at_limit="408 `body_timeout`", flag="body-timeout"),
    Key("request_timeout", kinds.TIME, "From the head to the end of the answer.", "90s", minimum="10ms", maximum="1d",
        tighten=True, at_limit="408 or 504; cut if the answer has begun", flag="request-timeout"),
    Key("keepalive_timeout", kinds.TIME, "Between two requests of a connection; 0 closes after each.", "15s",
        minimum="0s", maximum="1h", at_limit="the connection is closed", flag="keepalive-timeout"),
    Key("connect_timeout", kinds.TIME, "To connect to the upstream.", "5s", minimum="10ms", maximum="1h",
        at_limit="502 `upstream_unreachable`", flag="connect-timeout"),
    Key("upstream_timeout", kinds.TIME, "From the request's end to the answer's head, and between its bytes.", "60s",
        minimum="10ms", maximum="1d", tighten=True, at_limit="504 `upstream_timeout`; cut if the answer has begun",
        flag="upstream-timeout"),
    Key("write_timeout", kinds.TIME, "Without progress towards the sender.", "30s", minimum="10ms", maximum="1h",
        at_limit="the connection is reset", flag="write-timeout"),
)  # fmt: skip

TIGHTENED = tuple(
    Key(key.name, key.kind, f"Tightens `limits.{key.name}` for this route.", minimum=key.minimum, maximum=key.maximum,
        at_limit=key.at_limit)
    for key in LIMITS if key.tighten
)  # fmt: skip
