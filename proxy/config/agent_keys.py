"""The keys of ``[agents]`` and ``[agent.NAME]``: a part of ``schema``."""

from __future__ import annotations

from proxy.config import kinds
from proxy.config.keys import Key

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
