"""As many descriptors as the limits may need: each connection is one, and each exchange may be two more.

The soft limit of a process is a habit of 1024 on most hosts; raising it up to the hard one needs no right. Where that
is too low, connections wait at accept when it is reached (threats D11), and the start says what to change.
"""

from __future__ import annotations

import resource

from proxy.core.policy import ServerLimits

#: Listeners, logs, the loop's own, certificates while they are read.
SPARE = 64


def needed(server: ServerLimits) -> int:
    """Descriptors of a worker at its limits: an exchange has an upstream connection or a temporary file, or both."""
    return server.max_connections + 2 * min(server.max_exchanges, server.max_connections) + SPARE


def make_room(server: ServerLimits) -> list[str]:
    """Raise the soft limit as far as needed and allowed; warnings where that is not far enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed(server)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and soft < server.max_connections + SPARE:
        what = f"this process may open {soft} files, and max_connections = {server.max_connections} may need {wanted}"
        return [f"{what}: raise the limit (systemd: LimitNOFILE={wanted}) or lower max_connections"]
    return []
