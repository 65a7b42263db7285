"""What the schema says of one key and one table, and the keys of those tables that ``schema`` has no room for. This
module reads nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from proxy.config import kinds
from proxy.config.kinds import SIZE, STORE_URL, TIME, Kind, choice
from proxy.config.notation import show_size, show_time
from proxy.core.payload import Glob, PayloadCondition, Pointer, Wanted
from proxy.core.signing.scheme import Encoding, TimeFormat
from proxy.errors import Mistake
from proxy.values import frozen


@frozen
class Key:
    """One key of a table. ``default``, ``minimum`` and ``maximum`` are written as in TOML."""

    name: str
    kind: Kind
    doc: str
    default: object = None
    many: bool = False  # a list; a single value counts as a list of one
    minimum: object = None
    maximum: object = None
    at_limit: str = ""
    tighten: bool = False  # a route may set it too, but not loosen it
    flag: str = ""  # without "--"
    table: str = ""  # the section that describes the table (or, with ``many``, each table of the list)
    named: bool = False  # a table of tables with names of the user's choice
    bare: str = ""  # of a table: the key that a text in its place stands for
    repeat: bool = False  # the flag may be given several times though the key is no list
    fallback: object = field(init=False, repr=False)  # the default, read

    def __post_init__(self) -> None:
        default = self.default
        read = tuple(map(self.kind.read, default)) if isinstance(default, list) else default
        read = read if default is None or self.many else self.kind.read(default)
        object.__setattr__(self, "fallback", read)

    @property
    def attribute(self) -> str:
        """The name of its field in ``Settings``, ``Limits`` or ``ServerLimits``: times end in ``_s``."""
        return self.name + "_s" if self.kind is TIME else self.name

    def show(self, value: float) -> str:
        """A value that was read, as one writes it."""
        if self.kind is TIME:
            return show_time(value)
        return show_size(int(value)) if self.kind is SIZE else str(value)


@frozen
class Section:
    """One table of the file."""

    title: str
    doc: str
    keys: tuple[Key, ...]
    by_name: Mapping[str, Key] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {key.name: key for key in self.keys})

    def key(self, name: str) -> Key | None:
        """The key called ``name``."""
        return self.by_name.get(name)


# -- ``where`` of a route: a table of places in a payload and what must be there, read into conditions.

FORM = 'write { "action" = ["opened"], "repository.full_name" = "org/*" }'
_PLACE_FORM = 'write keys with dots between them, such as "repository.full_name"; "labels[].name" is of each element'
#: Of one route: each looks at the payload again.
MAX_CONDITIONS = 32


def read_where(value: object) -> tuple[PayloadCondition, ...]:
    """The conditions of a table; one in a table stands below its name. Mistake says which of them is wrong."""
    if not isinstance(value, Mapping):
        raise Mistake("is not a table", FORM)
    conditions = tuple(_condition(place, wanted) for place, wanted in _flat(value))
    if not conditions:
        raise Mistake("is an empty table", "remove the key, or name what must be there")
    if len(conditions) > MAX_CONDITIONS:
        raise Mistake(f"has {len(conditions)} conditions", f"at most {MAX_CONDITIONS} are looked at")
    return conditions


def _place(value: object) -> object:
    if not isinstance(value, str):
        raise Mistake("is not a text", _PLACE_FORM)
    return _pointer(value).text if value else ""


def _pointer(text: str) -> Pointer:
    try:
        return Pointer.parse(text)
    except ValueError:
        raise Mistake(f"{text[:80]!r} is no place in a payload", _PLACE_FORM) from None


WHERE = Kind("table", FORM, read_where)
PLACE = Kind("place in a payload", _PLACE_FORM, _place)


def _flat(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def _condition(place: str, wanted: object) -> PayloadCondition:
    shown, pointer = place[:80], _pointer(place)
    values = wanted if isinstance(wanted, list) else [wanted]
    if not values:
        raise Mistake(f"{shown!r} has an empty list", "remove it, or name at least one value")
    one_of, none_of = [], []
    for value in values:
        if isinstance(value, str) and value.startswith("!"):
            none_of.append(_glob(shown, value[1:]))
        else:
            one_of.append(_wanted(shown, value))
    return PayloadCondition(pointer, tuple(one_of), tuple(none_of))


def _wanted(shown: str, value: object) -> Wanted:
    if isinstance(value, str):
        return _glob(shown, value)
    if isinstance(value, bool | int | float):
        return value
    raise Mistake(f"{shown!r} has a value that is no text, number or boolean", "write one of these, or a list of them")


def _glob(shown: str, text: str) -> Glob:
    try:
        return Glob.parse(text)
    except ValueError as error:
        mend = "a backslash stands before * and ! that mean themselves, and before another one"
        raise Mistake(f"{shown!r}: {text[:80]!r} {error}", mend) from None


# -- Parts of the one table of all: limits, how a route delivers, the queue, schemes of one's own, agents.

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
        "4, and as many others as come. See [queue.md](queue.md#pace-and-concurrency).", 4, minimum=1, maximum=1000,
        at_limit="the next one waits, no longer than its sender does: then 503 `overloaded`, or it is kept"),
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


SCHEME = (
    Key("header", kinds.HEADER, "The header of the signature (or a list of them, any of which may match).", many=True),
    Key("algorithm", choice("sha1", "sha256", "sha384", "sha512"), "The digest of the HMAC.", "sha256"),
    Key("encoding", choice(*(form.value for form in Encoding)), "How the signature is written.", "hex"),
    Key("prefix", kinds.LITERAL, "What stands before the signature, such as `sha256=`.", ""),
    Key("signed", kinds.LITERAL, "What is signed, in order: `{body}`, `{timestamp}`, `{id}`, `{nonce}`, `{method}`, "
        "`{url}`, `{target}`, `{path}`, `{query}`, `{header:NAME}`, `{param:NAME}` and literal text.", "{body}"),
    Key("timestamp", kinds.TABLE, "When it was signed: what `{timestamp}` stands for.", table="timestamp"),
    Key("list", kinds.TABLE, "How a header is read that is a list.", table="list"),
    Key("id", kinds.HEADER, "The header of `{id}`."),
    Key("nonce", kinds.HEADER, "The header of `{nonce}`."),
    Key("secret_encoding", choice("raw", "hex", "base64", "whsec"), "What must be decoded before it is a key.", "raw"),
    Key("required", kinds.FIELDS, "A table: headers that must have exactly this value."),
    Key("event_header", kinds.HEADER, "The header that names the event, for `events` and the log."),
    Key("event_place", PLACE, "Where the event stands in the payload, where no header has it: `event.type`.", ""),
    Key("delivery_header", kinds.HEADER, "The header that names the delivery, for the log."),
    Key("refusal_status", kinds.REFUSAL, "The status that the provider demands instead of 403: 400, 401 or 404."),
    Key("docs", kinds.TEXT, "Where the provider describes it."),
)  # fmt: skip

TIMESTAMP = (
    Key("header", kinds.HEADER, "Its header; left out, where the list has it."),
    Key("tolerance", kinds.SECONDS, "How old or new it may be; a bare number is of seconds.", "300s"),
    Key("format", choice(*(form.value for form in TimeFormat)), "How it is written.", "s"),
)

SCHEME_LIST = (
    Key("separator", kinds.LITERAL, "What stands between two items.", ","),
    Key("pair", kinds.LITERAL, "What stands between the key and the value of an item; empty where items have no keys.",
        "="),
    Key("signature", kinds.LITERAL, "The key of the signature.", "v1"),
    Key("timestamp", kinds.LITERAL, "The key of the timestamp; without keys any word, and the timestamp comes first.",
        ""),
    Key("blanks", kinds.BOOL, "Whether blanks around an item are dropped.", False),
)  # fmt: skip


AGENTS = (
    Key("idle", kinds.COUNT, "Connections of each agent that wait for deliveries, at each worker.", 4, minimum=1,
        maximum=64),
    Key("max_connections", kinds.COUNT, "Connections of each agent at each worker; they grow with use.", 64, minimum=2,
        maximum=1024, at_limit="deliveries wait for one, at most `connect_timeout`"),
)  # fmt: skip

AGENT = (
    Key("key", kinds.REFERENCE, "Where the agent's key is kept: `file:/path`, written when the agent joins (see "
        "`hookward enrol`). Where the file goes or changes, connections made with the key before end at once."),
    Key("routes", kinds.NAME, "The routes that it serves; each must name it as an upstream: `agent:NAME`.", many=True),
    Key("allow", kinds.ADDRESSES, "The addresses that it may connect from; left out, any may begin TLS.", many=True),
)  # fmt: skip


def _limit(name: str, kind: Kind, doc: str, default: object, **bounds: Any) -> Key:
    """A limit: its flag has its name."""
    return Key(name, kind, doc, default, flag=name.replace("_", "-"), **bounds)


LIMITS = (
    _limit("max_body", kinds.SIZE, "Content of one request.", "25MiB", minimum="1B", maximum="1TiB", tighten=True,
        at_limit="413 `body_too_large`, from the declared length at once"),
    _limit("max_target", kinds.SIZE, "The request target.", "8KiB", minimum="64B", maximum="64KiB",
        at_limit="414 `target_too_long`"),
    _limit("max_head", kinds.SIZE, "The whole head of a request.", "16KiB", minimum="512B", maximum="1MiB",
        at_limit="431 `head_too_large`"),
    _limit("max_fields", kinds.COUNT, "Field lines in a head.", 100, minimum=4, maximum=1000,
        at_limit="431 `head_too_large`"),
    _limit("max_connections", kinds.COUNT, "Connections of all peers.", 10000, minimum=1, maximum=1_000_000,
        at_limit="further ones are closed at accept"),
    _limit("max_connections_per_address", kinds.COUNT, "Connections of one address; IPv6 is counted per /64.", 256,
        minimum=1, maximum=1_000_000, at_limit="further ones are closed at accept"),
    _limit("reserved_share", kinds.COUNT, "Percent of `max_connections`, `max_handshakes`, `max_exchanges`, "
        "`buffer_budget` and `spill_budget` that is kept for addresses with an `allow` list, where other routes let "
        "everybody connect; plain TCP leaves it of `max_connections` to the routes.", 10, minimum=0, maximum=90,
        at_limit="for strangers these limits are lower by so much"),
    _limit("max_requests_per_connection", kinds.COUNT, "Requests of one connection.", 10000, minimum=1,
        maximum=1_000_000_000, at_limit="the last answer says `Connection: close`"),
    _limit("max_exchanges", kinds.COUNT, "Requests that are being received, forwarded or answered at once.", 4096,
        minimum=1, maximum=1_000_000, at_limit="503 `overloaded` by the head alone"),
    _limit("max_handshakes", kinds.COUNT, "TLS handshakes under way at once.", 2000, minimum=1, maximum=1_000_000,
        at_limit="further connections are closed at accept"),
    _limit("buffer_budget", kinds.SIZE, "Bytes held for all exchanges together; of it one address, or one /64, "
        "has at most an eighth.", "256MiB", minimum="64KiB",
        maximum="1TiB", at_limit="senders wait their turn, then 503 `overloaded`"),
    _limit("hold_window", kinds.SIZE, "Of one body, held in memory before the verdict.", "256KiB", minimum="1B",
        maximum="1GiB", tighten=True, at_limit="`tail` begins to stream; `hold` goes on in a temporary file"),
    _limit("spill_budget", kinds.SIZE, "Bytes in temporary files, of all bodies in `hold` together; a single one that "
        "is larger finds no room, and several of one address, or one /64, have at most an eighth.", "1GiB",
        minimum="64KiB", maximum="64TiB", at_limit="503 `overloaded`"),
    _limit("tls_timeout", kinds.TIME, "For the TLS handshake.", "10s", minimum="10ms", maximum="1h",
        at_limit="the connection is closed"),
    _limit("head_timeout", kinds.TIME, "From the first byte of a head (for the first request: from accept) to its end.",
        "10s", minimum="10ms", maximum="1h", at_limit="408 `head_timeout`; closed silently if no byte came"),
    _limit("body_min_rate", kinds.SIZE, "Least bytes per second of a body, after a grace of 5 s; 0 is off.", "512B",
        minimum="0B", maximum="1GiB", at_limit="408 `body_timeout`"),
    _limit("body_timeout", kinds.TIME, "For the whole body.", "60s", minimum="10ms", maximum="1d",
        tighten=True, at_limit="408 `body_timeout`"),
    _limit("request_timeout", kinds.TIME, "From the head to the end of the answer.", "90s", minimum="10ms",
        maximum="1d", tighten=True, at_limit="408 or 504; cut if the answer has begun"),
    _limit("keepalive_timeout", kinds.TIME, "Between two requests of a connection; 0 closes after each.", "15s",
        minimum="0s", maximum="1h", at_limit="the connection is closed"),
    _limit("connect_timeout", kinds.TIME, "To connect to the upstream.", "5s", minimum="10ms", maximum="1h",
        at_limit="502 `upstream_unreachable`"),
    _limit("upstream_timeout", kinds.TIME, "From the request's end to the answer's head, and between its bytes.", "60s",
        minimum="10ms", maximum="1d", tighten=True, at_limit="504 `upstream_timeout`; cut if the answer has begun"),
    _limit("write_timeout", kinds.TIME, "Without progress towards the sender.", "30s", minimum="10ms", maximum="1h",
        at_limit="the connection is reset"),
)  # fmt: skip

TIGHTENED = tuple(
    Key(key.name, key.kind, f"Tightens `limits.{key.name}` for this route.", minimum=key.minimum, maximum=key.maximum,
        at_limit=key.at_limit)
    for key in LIMITS if key.tighten
)  # fmt: skip
