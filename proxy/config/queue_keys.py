"""The keys of ``[queue]`` and of how a route delivers; part of ``config.schema``."""

from __future__ import annotations

from proxy.config import kinds
from proxy.config.keys import Key
from proxy.config.kinds import choice
from proxy.config.store_url import STORE_URL
from proxy.config.where import PLACE, WHERE

DELIVERY = (
    Key("deliver", choice("direct", "fallback", "queue"), "When the sender is told that a delivery is taken. `direct`: "
        "by the application's answer. `queue`: once it is on stable storage; it is delivered afterwards. `fallback`: "
        "by the application's answer, and where that cannot be had, as in `queue`. See [queue.md](queue.md).",
        "direct", flag="deliver"),
    Key("accepted_status", kinds.COUNT, "What the sender is told once a delivery is kept.", 202, minimum=200,
        maximum=299),
    Key("ambiguous", choice("refuse", "keep"), "For `fallback`, what was sent and got no answer: `keep` tries again, "
        "and it may arrive twice.", "refuse"),
    Key("retry", kinds.TABLE, "When a kept delivery is tried again.", table="retry"),
    Key("concurrency", kinds.COUNT, "Deliveries of the route that its application has at once. Left out, of kept ones "
        "4, and as many others as come. See [queue.md](queue.md#pace-and-concurrency).", 4, minimum=1,
        maximum=1000, at_limit="the next one waits, no longer than its sender does: then 503 `overloaded`, or it is "
        "kept"),
    Key("pace", kinds.RATE, "How many deliveries the application gets in a time; left out, as fast as they come.",
        at_limit="the next one waits, as for `concurrency`"),
    Key("order", choice("none", "strict"), "`strict`: one after the other, in the order they came. One that fails holds"
        " up those behind it until it is delivered or dead.", "none"),
    Key("order_by", PLACE, "With `strict`, deliveries wait only for those with the same value of this: a header, or a "
        "place in the payload such as `repository.full_name`, as in `where`."),
    Key("coalesce", PLACE, "A place in the payload, such as `ref`: of the deliveries that wait and are equal in it, "
        "event and repository included, only the last is delivered."),
    Key("resign", kinds.BOOL, "Whether each attempt is signed again, with the route's newest secret and the time of "
        "the attempt, for an application that checks the time of a signature.", False),
    Key("copies", kinds.TABLE, "Where else each delivery goes, by the queue, with retries of its own; the sender "
        "has its answer from `upstream` alone. See [queue.md](queue.md#copies).", many=True, table="copy", bare="url"),
    Key("keep_authorization", kinds.BOOL, "Whether a field `Authorization`, `Cookie` or `Proxy-Authorization` that no "
        "guard reads is stored with a kept delivery, and sent with it.", False),
)  # fmt: skip

COPY = (
    Key("url", kinds.UPSTREAM_URL, "Where it goes."),
    Key("where", WHERE, "Copy only deliveries whose payload says this, as of a route."),
    Key("secret", kinds.REFERENCE, "Sign it with this secret instead, as of the time of each attempt. Without it the "
        "signature is the sender's, and a route's token is left out."),
)  # fmt: skip

RETRY = (
    Key("first", kinds.TIME, "The longest pause after the first failure; it doubles with each, and how much of it is "
        "waited is left to chance.", "5s", minimum="10ms", maximum="1d"),
    Key("most", kinds.TIME, "The longest pause of all.", "10m", minimum="10ms", maximum="7d"),
    Key("for", kinds.TIME, "How long a delivery is tried again.", "24h", minimum="1s", maximum="30d",
        at_limit="it is a dead letter"),
    Key("on", kinds.FAILURE, "The statuses after which it is tried again, as after no answer; any other failure makes "
        "it a dead letter at once.", ["5xx", 408, 425, 429], many=True),
)  # fmt: skip

QUEUE = (
    Key("store", choice("sqlite", "redis"), "`sqlite` is a folder of this host; `redis` is for several hosts.",
        "sqlite"),
    Key("path", kinds.FILE, "The folder of `sqlite`, on a local disk; left out, `queue` in `state_dir`.",
        flag="queue-path"),
    Key("url", STORE_URL, "The Redis: `redis://HOST:PORT/DB`, `rediss://…` (TLS) or `unix:///run/redis.sock`. A URL "
        "with a password comes by reference only."),
    Key("max_bytes", kinds.SIZE, "What all kept deliveries may take, dead letters included.", "1GiB", minimum="64KiB",
        maximum="64TiB", at_limit="503 `queue_full` with `Retry-After`; nothing is dropped"),
    Key("max_age", kinds.TIME, "How long a delivery is kept at most, dead letters included.", "7d", minimum="1m",
        maximum="365d", at_limit="it is removed, with a line in the log"),
)  # fmt: skip
