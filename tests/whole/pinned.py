"""hookward with its clock held still, for old deliveries: ``python -m tests.whole.pinned SECONDS FLAGS…``."""

from __future__ import annotations

import sys

from proxy.net.clock import Clock
from proxy.ops.cli import main

if __name__ == "__main__":
    instant = float(sys.argv[1])
    Clock.wall = staticmethod(lambda: instant)
    sys.exit(main(sys.argv[2:]))
