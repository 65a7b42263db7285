"""What the console costs each exchange, inside the process: off, on, and on with some that look on and take nothing.

    .venv/bench/python/bin/python -m bench.micro.console

As ``bench.micro.exchange``, in alternating rounds; the figure is the least of each. The kernel and the loop are left
out, so the share here is greater than that of a whole exchange.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from bench.micro.exchange import ROUNDS, SECRET, Crowd, Log
from proxy.config.load import load
from proxy.config.notation import ListenAddress
from proxy.config.settings import ConsoleSettings
from proxy.console.capture import Capture, Viewer
from proxy.core.metrics import Metrics
from proxy.net.site import Site
from proxy.ops.process import settle

VIEWERS = 5


async def main() -> None:
    """Print the least of each."""
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_bytes(SECRET)
        flags = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--path", "/hook"]
        policy = load([*flags, "--provider", "github", "--secret-file", str(secret)], {}).policy
    loop = asyncio.get_running_loop()
    settle()  # as the process that serves does, for its collector
    crowds = {}
    for name in ("off", "on", f"on, with {VIEWERS} that are stuck"):
        site = Site(loop=loop, policy=policy, log=Log(), metrics=Metrics(), instance="bench")
        if name != "off":
            capture = Capture(ConsoleSettings(ListenAddress("127.0.0.1", 1), 500, 32 << 20), site)
            site.capture = capture
            if name != "on":
                capture.viewers.update(Viewer(lambda _: True) for _ in range(VIEWERS))
        crowds[name] = Crowd(site, 1)
    least = dict.fromkeys(crowds, 1e9)
    for _ in range(ROUNDS):
        for name, crowd in crowds.items():
            least[name] = min(least[name], crowd.cost_us())
    for name, figure in least.items():
        print(f"{name}: {figure:.1f} µs ({figure - least['off']:+.1f})")


if __name__ == "__main__":
    asyncio.run(main())
