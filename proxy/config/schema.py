"""The one table of all keys: parsing, flags, environment and ``docs/configuration.md`` are made from it.

A key says its kind, default, range, what happens at the limit, and in one line what it is for. To add a key, add it
here; ``build`` then reads it by its name. Defaults and bounds are written as a user would write them. This module reads
nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.config import keys, kinds
from proxy.config.keys import WHERE, Key, Section
from proxy.config.kinds import STORE_URL, choice

#: The route that flags and the environment make or change.
FLAG_ROUTE = "default"


_HEALTH = (
    Key("path", kinds.PLACE, "What is asked for, by GET: an answer below 400 says that all is well."),
    Key("interval", kinds.TIME, "How often; each worker asks for itself.", "5s", minimum="100ms", maximum="1h"),
    Key("timeout", kinds.TIME, "How long an answer may take.", "2s", minimum="10ms", maximum="1m"),
)  # fmt: skip

_UPSTREAM = (
    Key("url", kinds.UPSTREAM_URL, "Where it is."),
    Key("weight", kinds.COUNT, "How many requests it gets while one of weight 1 gets one.", 1, minimum=1, maximum=1000),
    Key("drain", kinds.BOOL, "It gets no new request; what it has is finished.", False),
    Key("send_proxy", kinds.BOOL, "Whether its connections begin with a PROXY header; left out, as the route says."),
    Key("health", kinds.HEALTH, "Ask whether it is well: a path, or the table below. After two bad answers it "
        "gets requests only where no other is well, until the next good one.", table="health", bare="path"),
)  # fmt: skip

_TOP = (
    Key("listen", kinds.LISTEN, "Where to listen.", many=True, flag="listen"),
    Key("upstream", kinds.UPSTREAM, "Where admitted requests go. Of several, the one with the fewest under way for its "
        "`weight` gets the next, and one that cannot be reached is left alone for a while.", many=True,
        table="upstream", bare="url", flag="upstream"),
    Key("workers", kinds.WORKERS, 'Processes; "auto" is one per processor.', 1, flag="workers"),
    Key("allow", kinds.ADDRESSES, "What may send, for every route that has no `allow` of its own.", many=True,
        flag="allow"),
    Key("deny", kinds.ADDRESSES, "What may not send, for every route and plain TCP forward; it wins over `allow`, and "
        "is no guard by itself.", many=True, flag="deny"),
    Key("trusted_proxies", kinds.ADDRESSES, "Proxies whose X-Forwarded-For or Forwarded is walked, right to left; with "
        "`proxy_protocol`, those that may send a PROXY header, whose address is final.",
        many=True, flag="trusted-proxy"),
    Key("proxy_protocol", choice("off", "require"), "Whether connections begin with a PROXY header (v1 or v2).",
        "off", flag="proxy-protocol"),
    Key("send_proxy", kinds.BOOL, "Whether connections to upstreams begin with a PROXY header (v2) that names the "
        "client; each then serves one request.", False, flag="send-proxy"),
    Key("upstream_idle_timeout", kinds.TIME, "How long a connection to an upstream may have been idle and still be "
        "used; the upstream's `Keep-Alive: timeout=`, less a second, shortens it. It should be shorter than the "
        "application's own: what is sent as it closes is lost.", "4s", minimum="0s", maximum="1h",
        at_limit="another connection is made"),
    Key("kernel_filter", choice("off", "auto"), "`auto`: on Linux the kernel drops connection attempts of addresses "
        "that no list admits, without an answer, instead of letting us reset them.", "off", flag="kernel-filter"),
    Key("admin", kinds.LISTEN, "Where health and metrics are answered; off unless set.", flag="admin"),
    Key("open", kinds.BOOL, "Forward without any check what nothing guards.", False, flag="open"),
    Key("drain", kinds.TIME, "How long running exchanges may take after SIGTERM.", "30s", minimum="0s", maximum="1h",
        at_limit="what still runs is cut", flag="drain"),
    Key("log_format", choice("auto", "json", "ecs", "text", "journald"), "`auto` is text on a terminal, else JSON; "
        "`ecs` is JSON with Elastic's names; `journald` is text with a priority for the journal.", "auto",
        flag="log-format"),
    Key("log_sample_refusals", kinds.COUNT, "One refusal in so many has a line in the access log.", 1, minimum=1,
        maximum=1_000_000, flag="log-sample-refusals"),
    Key("log_refusals_per_address", kinds.COUNT, "Refusals of one address in a minute that have a line each; those "
        "beyond are summed up in one. 0 is any number.", 0, minimum=0, maximum=1_000_000,
        flag="log-refusals-per-address"),
    Key("log_level", choice("debug", "info", "warning", "error"), "What the log of the process says.", "info",
        flag="log-level"),
    Key("access_log", kinds.ACCESS_LOG, 'Where the line of each exchange goes; "-" is standard output.', "-",
        flag="access-log"),
    Key("silence", kinds.TEXT, "Ids of rules that `hookward check` and the start do not speak of: `H108`.", many=True),
    Key("state_dir", kinds.FILE, "A folder for what should outlive a restart.", flag="state-dir"),
    Key("user", kinds.ACCOUNT, "The user to become once sockets are open and keys and secrets are read. A reload reads "
        "them again, as that user.", flag="user"),
    Key("group", kinds.ACCOUNT, "Of which group; left out, the user's own.", flag="group"),
    Key("tls", kinds.TABLE, "Certificates; a list of tables for several names.", many=True, table="tls"),
    Key("upstream_tls", kinds.TABLE, "How `https` upstreams are verified.", table="upstream_tls"),
    Key("limits", kinds.TABLE, "Bounds of time and memory.", table="limits"),
    Key("route", kinds.TABLE, "Routes, by name.", table="route", named=True),
    Key("scheme", kinds.TABLE, "Providers of one's own, by name.", table="scheme", named=True),
    Key("ip_set", kinds.TABLE, "Published address lists, by name.", table="ip_set", named=True),
    Key("duplicates", kinds.TABLE, "Where deliveries are remembered, for routes that look for duplicates.",
        table="duplicates"),
    Key("console", kinds.TABLE, "A page and an API: what came, why it was refused, and replay. Off unless it is there.",
        table="console"),
    Key("queue", kinds.TABLE, "Where deliveries are kept, for routes that do not `deliver` directly.", table="queue"),
    Key("tcp", kinds.TABLE, "Plain TCP forwarding, by name.", table="tcp", named=True),
    Key("agents", kinds.TABLE, "How many connections agents keep.", table="agents"),
    Key("agent", kinds.TABLE, "Agents that connect from beside an application, by name.", table="agent", named=True),
    Key("test", kinds.TABLE, "Saved deliveries, and what must come of them.", many=True, table="test"),
)  # fmt: skip

_TLS = (
    Key("cert", kinds.FILE, "Certificate chain in PEM; re-read on change and on SIGHUP.", flag="tls-cert"),
    Key("key", kinds.FILE, "Its key in PEM; left out where the key is in the file of the certificate.", flag="tls-key"),
    Key("names", kinds.SERVER_NAME, "The names it is for (SNI); left out, those in the certificate.", many=True),
    Key("client_ca", kinds.FILE, "Ask clients for a certificate of these authorities (PEM). Written in the first "
        "table, it counts for all of them.", flag="tls-client-ca"),
    Key("client_cert", choice("optional", "require"), "Whether a client without such a certificate may connect; left "
        'out, "require" where `client_ca` is set.', flag="tls-client-cert"),
)  # fmt: skip

_UPSTREAM_TLS = (
    Key("ca", kinds.FILE, "The CAs to trust, in PEM, instead of the system's.", flag="upstream-ca"),
    Key("cert", kinds.FILE, "Our certificate, where the upstream asks for one.", flag="upstream-cert"),
    Key("key", kinds.FILE, "Its key.", flag="upstream-key"),
    Key("server_name", kinds.SERVER_NAME, "The name that its certificate must have; else the URL's host.",
        flag="upstream-server-name"),
)  # fmt: skip

_ROUTE = (
    Key("path", kinds.ROUTE_PATH, "This path and what lies under it, by whole segments. It may end in `{token}`: see "
        "`token`.", "/", flag="path"),
    Key("exact", kinds.BOOL, "This path alone.", False, flag="exact"),
    Key("methods", kinds.METHOD, "What may be done there.", ["POST"], many=True, flag="method"),
    Key("allow", kinds.ADDRESSES, "The addresses that may send; left out, the top level's `allow`.", many=True),
    Key("deny", kinds.ADDRESSES, "The addresses that may not send, besides those of the top level's `deny`; it wins "
        "over `allow`.", many=True),
    Key("client_names", kinds.CLIENT_NAME, "Names of client certificates (subjectAltName or common name) of which the "
        "sender must have one; needs `client_ca`.", many=True, flag="client-name"),
    Key("rate", kinds.RATE, "Requests that one address may send; IPv6 is counted per /64, and each worker counts for "
        "itself.", at_limit="429 `rate_limited` with `Retry-After`", flag="rate"),
    Key("burst", kinds.COUNT, "How many of them at once; left out, what comes in two seconds, at least 10.", minimum=1,
        maximum=1_000_000, at_limit="429 `rate_limited`", flag="burst"),
    Key("provider", kinds.TEXT, "Whose signature (or token) must be right: a slug of `hookward providers`.",
        flag="provider"),
    Key("secrets", kinds.TABLE, "What it is checked with; several while one is rotated.", many=True, table="secret",
        bare="from"),
    Key("token", kinds.TABLE, "A token in the query, the path, a header, Bearer or Basic.", table="token"),
    Key("verify", choice("here", "agent"), "`agent`: the agent behind this route has the provider's secrets and gives "
        "the verdict; here addresses, path and limits are checked.", "here"),
    Key("tolerance", kinds.TIME, "How old or new a signed timestamp may be; left out, the provider's own window.",
        minimum="1s", maximum="7d", flag="tolerance"),
    Key("events", kinds.TEXT, "Refuse other event types.", many=True, flag="event"),
    Key("content_types", kinds.MEDIA_TYPE, "Refuse other types of content, and requests that name none or two. "
        "Parameters such as `charset` and the case of letters do not count.", many=True,
        at_limit="415 `content_type_refused`", flag="content-type"),
    Key("where", WHERE, "Pass on only deliveries whose payload says this: a table of places in it and what must be "
        "there. Others are answered 200 and logged `filtered`. See [guards.md](guards.md#where).",
        at_limit="a payload larger than `hold_window` cannot be decided on"),
    Key("undecided", choice("refuse", "pass"), "What becomes of a payload that `where` cannot decide on: too large, or "
        "not readable in one way alone.", "refuse", at_limit="422 `payload_undecided`"),
    Key("body", choice("free", "tail", "hold"), "What the upstream may see before the verdict; left out, `tail` "
        "with a signature, else `free`.", flag="body"),
    Key("mode", choice("enforce", "observe"), "`observe` passes and counts what token, signature, "
        "time, event or client certificate would have refused; addresses, limits and grammar are always enforced.",
        "enforce", flag="mode"),
    Key("upstream", kinds.UPSTREAM, "Where this route goes instead of the top level's `upstream`.", many=True,
        table="upstream", bare="url"),
    Key("rewrite", kinds.PLACE, "The path that stands at the upstream for the route's own, by whole segments; what "
        "follows, and the query, go on as they came. A signed URL is the one that came.", flag="rewrite"),
    Key("upstream_tls", kinds.TABLE, "Instead of the top level's table.", table="upstream_tls"),
    Key("send_proxy", kinds.BOOL, "Instead of the top level's."),
    Key("upstream_idle_timeout", kinds.TIME, "Instead of the top level's.", minimum="0s", maximum="1h"),
    Key("hold", kinds.TIME, "Wait so long for an upstream that is unreachable or fails its health check, after the "
        "verdict and before a byte is sent; never longer than the provider. The body is counted against "
        "`buffer_budget`.", "0s", minimum="0s", maximum="1h",
        at_limit="502 `upstream_unreachable`; 503 where the budget is spent", flag="hold"),
    Key("duplicates", choice("off", "in-flight", "refuse-delivered"), "A delivery that comes again: `in-flight` lets "
        "no two of a kind reach the upstream at once; `refuse-delivered` also answers what was delivered before with "
        "the status that it got then.", "off", flag="duplicates"),
    Key("duplicates_by", choice("both", "id", "signature"), "What a delivery is told by. `both`: either is enough.",
        "both", flag="duplicates-by"),
    Key("duplicates_window", kinds.TIME, "How long a delivery is remembered.", "24h", minimum="1s", maximum="30d",
        at_limit="it is new again", flag="duplicates-window"),
    Key("topics", kinds.TOPIC, "For `sns`, whose key signs for all customers: the topics whose messages are taken, "
        "compared as a whole.", many=True, flag="topic"),
    Key("public_url", kinds.URL, "For schemes that sign the URL: scheme and authority, or the whole URL, as configured "
        "at the provider; of the whole URL, a request must have path and query.", flag="public-url"),
    Key("handshake", choice("forward", "answer", "refuse"), "The provider's endpoint check: the application answers "
        "it, we do, or it is judged like any other request.", "forward", flag="handshake"),
    Key("verify_token", kinds.REFERENCE, "For endpoint checks that need a token."),
    Key("open", kinds.BOOL, "This route needs no guard.", False),
    *keys.DELIVERY,
    *keys.TIGHTENED,
    Key("limits", kinds.TABLE, "The same limits, as a table.", table="route_limits"),
)  # fmt: skip

_TOKEN = (
    Key("query", kinds.QUERY_KEY, "The query parameter; it is removed from what is forwarded and logged.",
        flag="token-query"),
    Key("header", kinds.HEADER, "The header.", flag="token-header"),
    Key("bearer", kinds.BOOL, "`Authorization: Bearer TOKEN`.", False, flag="token-bearer"),
    Key("basic", kinds.BOOL, "`Authorization: Basic`, where each secret is `user:password`.", False,
        flag="token-basic"),
    Key("path", kinds.BOOL, "The last segment of the route's path, written `{token}` there; it is removed from what is "
        "forwarded and logged.", False, flag="token-path"),
    Key("secrets", kinds.TABLE, "The tokens; several while one is rotated.", many=True, table="secret", bare="from"),
)  # fmt: skip

_SECRET = (
    Key("from", kinds.REFERENCE, 'Where the value is: "file:/path", "env:NAME" or "cred:NAME".'),
    Key("name", kinds.NAME, "For the log; left out, `secret-1`, `secret-2`, …"),
    Key("not_before", kinds.INSTANT, "Matches nothing before; a date is its midnight in UTC."),
    Key("not_after", kinds.INSTANT, "Matches nothing from then on; a date is its midnight in UTC."),
)

_TCP = (
    Key("listen", kinds.LISTEN, "Where to listen."),
    Key("upstream", kinds.TCP_UPSTREAM, "Where the bytes go."),
    Key("send_proxy", kinds.BOOL, "Whether a PROXY header (v2) that names the client goes first.", False),
    Key("allow", kinds.ADDRESSES, "The addresses that may connect; left out, the top level's `allow`.", many=True),
    Key("deny", kinds.ADDRESSES, "The addresses that may not connect, besides those of the top level's `deny`.",
        many=True),
)  # fmt: skip

_TEST = (
    Key("file", kinds.FILE, "A saved delivery: raw HTTP, a curl command or a HAR file."),
    Key("expect", kinds.TEXT, 'What must come of it: "admitted", or the word of a reason.', "admitted"),
    Key("at", kinds.MOMENT, "The time as of which it is judged; left out, when the file says it was sent, or now."),
    Key("from", kinds.TEXT, "The sender's address; left out, addresses are not judged."),
)  # fmt: skip

_IP_SET = (
    Key("url", kinds.URL, "Where the list is published; left out, where the list of this name is known to be."),
    Key("json", kinds.TEXT, "Which part of a JSON document holds the prefixes: `prefixes[].cidr`; left out, the "
        "document is text with one prefix a line."),
    Key("refresh", kinds.TIME, "How often it is fetched; 0 is never.", "1h", minimum="0s", maximum="30d"),
)  # fmt: skip

_DUPLICATES = (
    Key("store", choice("memory", "sqlite", "redis"), "`memory` is one process's and forgets when it ends; `sqlite` is "
        "a file for all processes of a host; `redis` is for several hosts.", "memory", flag="duplicates-store"),
    Key("path", kinds.FILE, "The file of `sqlite`, on a local disk; left out, `duplicates.sqlite3` in `state_dir`.",
        flag="duplicates-path"),
    Key("url", STORE_URL, "The Redis: `redis://HOST:PORT/DB`, `rediss://…` (TLS) or `unix:///run/redis.sock`. A URL "
        "with a password comes by reference only.", flag="duplicates-url"),
    Key("on_error", choice("admit", "refuse"), "While the store cannot be asked: `admit` goes by what this process "
        "itself remembers, `refuse` answers 503 `overloaded`.", "admit", flag="duplicates-on-error"),
    Key("max_entries", kinds.COUNT, "Keys that are remembered, in memory and in the file: a delivery has one of its id "
        "and one of each signature. Redis bounds itself.", 100_000, minimum=100, maximum=100_000_000,
        at_limit="the oldest are forgotten", flag="duplicates-max-entries"),
)  # fmt: skip

_CONSOLE = (
    Key("listen", kinds.LISTEN, "Where it is served: an address of loopback or a unix socket; any other needs `[tls]` "
        "and a token.", "127.0.0.1:4041", flag="console"),
    Key("keep", kinds.COUNT, "Deliveries that are kept, in each worker; of these, refused ones take a quarter at most.",
        500, minimum=1, maximum=1_000_000, at_limit="the oldest go first", flag="console-keep"),
    Key("keep_bytes", kinds.SIZE, "Bytes that they may take, in each worker. Of one delivery an eighth of it is kept.",
        "32MiB", minimum="1MiB", maximum="16GiB", at_limit="the oldest go first"),
    Key("store", kinds.FILE_OR_NONE, "A file (SQLite) that keeps them over restarts, with secrets masked, within the "
        'same bounds; "" is none.', "", flag="console-store"),
    Key("max_age", kinds.TIME, "How long the file keeps them.", "7d", minimum="1m", maximum="365d",
        at_limit="they are removed"),
    Key("read_token", kinds.REFERENCE, "What lets a program read: `Authorization: Bearer`."),
    Key("act_token", kinds.REFERENCE, "What lets it also replay, pause and reload."),
)  # fmt: skip

SECTIONS: Mapping[str, Section] = MappingProxyType(
    {
        "": Section("Top level", "", _TOP),
        "tls": Section("[tls]", "A certificate. Write `[[tls]]` several times for several names (SNI); the first "
                       "answers for names that none has.", _TLS),
        "upstream_tls": Section("[upstream_tls]", "How `https` upstreams are verified; a route may have its own table.",
                                _UPSTREAM_TLS),
        "upstream": Section("upstream", "Each entry of a list of upstreams is a URL, or a table: `upstream = "
                            '["http://10.0.0.1:8000", { url = "http://10.0.0.2:8000", weight = 2 }]`.', _UPSTREAM),
        "health": Section("health", 'Of an upstream: `health = { path = "/healthz", interval = "5s" }`.', _HEALTH),
        "limits": Section("[limits]", "A route may tighten those marked \\*, never loosen them.", keys.LIMITS),
        "route": Section("[route.NAME]", "All guards of a route must hold. The longest path that owns a request "
                         "decides alone; several routes may stand on it, tried in the order of the file.", _ROUTE),
        "token": Section("[route.NAME.token]", "Exactly one of `query`, `header`, `bearer`, `basic`, `path`.", _TOKEN),
        "secret": Section("secrets", "Each entry of a list of secrets is a reference or a table. There is no way to "
                          "write a secret's value.", _SECRET),
        "route_limits": Section("[route.NAME.limits]", "", keys.TIGHTENED),
        "scheme": Section(
            "[scheme.NAME]", "A provider of one's own, as data: HMAC over what `signed` says.", keys.SCHEME),
        "timestamp": Section("[scheme.NAME.timestamp]", 'Written as `timestamp = { header = "X-Time" }` as well.',
                             keys.TIMESTAMP),
        "list": Section("[scheme.NAME.list]", "For a header that is a list, such as `t=1,v1=ab`.", keys.SCHEME_LIST),
        "duplicates": Section("[duplicates]", "Where deliveries are remembered; see [duplicates.md](duplicates.md). "
                              "Changes with a restart only.", _DUPLICATES),
        "console": Section("[console]", "What came, and why it was refused; see [console.md](console.md). Changes with "
                           "a restart only.", _CONSOLE),
        "retry": Section(
            "[route.NAME.retry]", 'Written as `retry = { first = "5s", most = "10m" }` as well.', keys.RETRY),
        "copy": Section("copies", "Each entry of a list of copies is a URL, or a table: `copies = "
            '["http://staging:8000", { url = "http://10.0.0.9", secret = "file:staging.secret" }]`.', keys.COPY),
        "queue": Section("[queue]", "Where deliveries are kept; see [queue.md](queue.md). Changes with a restart only.",
                         keys.QUEUE),
        "ip_set": Section("[ip_set.NAME]", "A published list of addresses, for `set:NAME`.", _IP_SET),
        "agents": Section("[agents]", "For all agents; see [reach.md](reach.md).", keys.AGENTS),
        "agent": Section("[agent.NAME]", "An agent: a hookward beside an application that nothing can connect to. It "
                         'connects to us, and routes reach the application by `upstream = "agent:NAME"`.', keys.AGENT),
        "test": Section("[[test]]", "A delivery that `hookward check` takes through every check; it fails (exit 78) "
                        "where something else comes of it. Nothing is sent, and `run` does not look at them.", _TEST),
        "tcp": Section("[tcp.NAME]", "Plain TCP: the address is checked, then bytes are piped.", _TCP),
    }
)  # fmt: skip
