"""Agents: from ``[agents]`` and ``[agent.NAME]`` to what a relay knows of each, and which routes may use which; and
what is different where the process is an agent itself.

An agent is used by the routes that name it as an upstream, and serves the routes that its own table lists: both must
say so. What one of them alone says is a mistake, so that a route never reaches an agent by a slip in one place.
"""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from proxy.config.admission import AllowReader, callers
from proxy.config.guarded_files import beside
from proxy.config.notation import prepare_names
from proxy.config.problems import suggestion
from proxy.config.secret_files import kept_mode, read_reference
from proxy.config.settings import AgentRule, AgentSettings, Dials, Loaded
from proxy.config.tree import Table
from proxy.core.addresses import AddressSet
from proxy.core.policy import Exposure, Limits, Route
from proxy.core.signing.scheme import decode_base64url
from proxy.errors import Mistake
from proxy.values import frozen

#: What a relay waits for is no business of its agent; and a connection that waits for a delivery waits for as long.
PATIENT_S = 1e9
#: An agent's key is so many bytes, written in base64url.
AGENT_KEY_BYTES = 32
_RELAYS = AddressSet.parse(["unix:"])


@frozen
class AgentReader:
    """Reads the agents of one load."""

    lists: AllowReader
    top: Table
    environ: Mapping[str, str]
    deny: tuple[AddressSet, ...]  # the top level's, which holds for agents too

    def read(self) -> AgentSettings:
        """The agents, by name. Their routes are judged by ``check``."""
        view = self.top.table("agents")
        found = [self._agent(name, table) for name, table in self.top.named("agent").items()]
        rules = {rule.name: rule for rule in found}
        return AgentSettings(rules, view.need("idle", int), view.need("max_connections", int))

    def _agent(self, name: str, table: Table) -> AgentRule:
        entry = table.entry("key")
        path, key = "", b""
        if entry is None:
            mend = 'add key = "file:/var/lib/hookward/agents/NAME.key"'
            table.lacks("key", "does not say where its key is", mend)
        else:
            kind, _, name_of_it = str(entry.value).partition(":")
            path = beside(entry.base, name_of_it) if kind == "file" else ""
            try:
                key = self._key(name, str(entry.value), entry.base, path)
            except Mistake as mistake:
                table.wrong("key", mistake.what, mistake.mend)
        allow = callers(self.lists.read(table, "allow"), self.deny)
        return AgentRule(name, path, b"" if path else key, frozenset(table.items("routes", str)), allow)

    def _key(self, name: str, reference: str, base: str, path: str) -> bytes:
        """The key of an agent, as it is written; b"" where its file is not there yet. Mistake where it is no key, or
        not the relay's alone: the agent would be away for ever, or anybody the agent.
        """
        enrol = f"hookward enrol {name}"
        try:
            found = read_reference(reference, base, self.environ, f"make it with `{enrol}`")
        except Mistake:
            if path and _is_missing(path):
                return b""
            if os.path.isdir(path):  # noqa: PTH112 - pathlib raises where a folder on the way is closed
                mend = f'name a file in it: key = "file:{path}/{name}.key"'
                raise Mistake(f"the agent's key cannot be read: {path} is a folder", mend) from None
            raise
        value, file = found.value.strip(), shlex.quote(path)
        if len(decode_base64url(value) or b"") != AGENT_KEY_BYTES:
            if not path:
                raise Mistake("this is not the key of an agent", "give it what the key file of a relay has")
            mend = f"remove it, and let the agent join again: rm {file} && {enrol}"
            raise Mistake(f"{path} has something else in it than the key of an agent", mend)
        if path and (mode := kept_mode(path)):
            mend = f"chmod {mode} {file}, and if others have read it: {enrol}"
            raise Mistake(f"other users may read the agent's key, {path}", mend)
        return value

    def check(self, agents: AgentSettings, routes: Sequence[Route], *, secure: bool) -> None:
        """Problems where route and agent do not name each other, or where an agent could not connect."""
        tables, agent_tables = self.top.named("route"), self.top.named("agent")
        uses: dict[str, set[str]] = {name: set() for name in agents.rules}
        for route in routes:
            view = tables.get(route.name, self.top)
            view = view if "upstream" in view else self.top
            for name in {one.agent for one in (*route.upstream, *route.drained)} - {""}:
                self._check_use(view, name, route.name, agents, uses)
        for name, rule in agents.rules.items():
            for other in sorted(rule.routes - uses[name]):
                self._unused(name, other)
            if not secure and not self.top.doubtful("tls"):
                what, mend = "agents connect by TLS, and there is no certificate", "add [tls] with cert and key"
                agent_tables[name].wrong("", what, mend)

    def _unused(self, name: str, route: str) -> None:
        """An agent lists a route that does not go to it."""
        known = self.top.named("route").keys()
        what, mend = f"there is no route {route!r}", suggestion(route, known)
        if route in known:
            what, mend = f"route {route!r} does not use this agent", f'write upstream = "agent:{name}" there'
        self.top.named("agent")[name].wrong("routes", what, mend)

    def _check_use(
        self, view: Table, name: str, route: str, agents: AgentSettings, uses: Mapping[str, set[str]]
    ) -> None:
        rule = agents.rules.get(name)
        if rule is None:
            mend = suggestion(name, agents.rules, otherwise=f"add [agent.{name}] with key and routes")
            view.wrong("upstream", f"there is no agent {name!r}", mend)
            return
        uses[name].add(route)
        if route not in rule.routes and not self.top.named("agent")[name].doubtful("routes"):
            what = f"agent {name!r} does not serve the route {route!r}"
            view.wrong("upstream", what, f"add it to `routes` of [agent.{name}]")


def _is_missing(path: str) -> bool:
    """As it is before the agent joins."""
    with suppress(OSError, ValueError):
        try:
            Path(path).lstat()
        except FileNotFoundError:
            return True
    return False


def check_listens_on_nothing(top: Table) -> None:
    """Problems where the configuration of an agent has what only a listener has."""
    for key in ("listen", "tls", "tcp", "proxy_protocol"):
        if key in top:
            top.wrong(key, "an agent listens on nothing", f"remove `{key}`, or start it with `hookward run`")


def of_agent(loaded: Loaded, dials: Dials) -> Loaded:
    """A load as an agent uses it: what comes has come through a relay, which tells the client and has set its limits.

    A connection of a relay counts as one of a unix socket: it has no address of its own, and is trusted to name others.
    """
    prepare_names()
    policy = loaded.policy
    judges = policy.exposure is Exposure.ROUTES
    routes = tuple(
        replace(route, relayed=True, limits=route.limits if judges else _patient(route.limits))
        for route in policy.routes
    )
    limits = replace(policy.limits, head_timeout_s=PATIENT_S, keepalive_timeout_s=PATIENT_S)
    trusted = policy.trusted_proxies | _RELAYS
    policy = replace(policy, routes=routes, limits=limits, trusted_proxies=trusted)
    dials = replace(dials, state_dir=loaded.settings.state_dir or dials.state_dir)
    return replace(loaded, policy=policy, settings=replace(loaded.settings, dials=dials))


def _patient(limits: Limits) -> Limits:
    """Of what is piped as it comes: the relay has judged it, and ends it."""
    return replace(
        limits,
        max_body=1 << 50,
        body_min_rate=0,
        body_timeout_s=PATIENT_S,
        request_timeout_s=PATIENT_S,
        upstream_timeout_s=PATIENT_S,
    )
