"""The exceptions of the house. There are three kinds of failure, never mixed.

A refused request is a *value* (``core.exchange.Reject``), no exception. The exceptions are:

* :exc:`HookwardError`, the root
  * :exc:`ProtocolError`: a peer (sender or upstream) broke the rules of its protocol
  * :exc:`ConfigError`: the configuration cannot be used; carries every :class:`Problem` found

Anything else that is raised is a bug. No exception here ever carries a body, secret, token or full signature.
"""

from __future__ import annotations

from proxy.reasons import Reason
from proxy.values import frozen


class HookwardError(Exception):
    """The root of our exceptions."""


class ProtocolError(HookwardError):
    """A peer broke the rules; caught once in the shell, which answers ``reason.status`` and closes.

    ``detail`` is a fixed word for the log (``cl_te``, ``bare_lf``, …): never bytes of the peer.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.word}: {detail}")
        self.reason = reason
        self.detail = detail


@frozen
class Problem:
    """One mistake in the configuration: where it is, what is wrong, and how to mend it."""

    where: str  # "hookward.toml: route.github.secrets" or "--listen" or "HOOKWARD_LISTEN"
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n    {self.mend}"


class ConfigError(HookwardError):
    """The configuration cannot be used: all its problems at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems
