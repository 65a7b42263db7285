"""What loading a configuration costs: ``python -m bench.micro.config`` loads 100, 1,000 and 10,000 routes.

Each route has a path, a provider with a secret of its own in a file, an address list and a tighter limit. The time of
one route must not grow with their number; times are the processor's, for other processes are no part of it. ``check``
is all that `hookward check` says of the load. Then a file of address prefixes. Memory is what is left after the load,
and the most that it took.
"""

import gc
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.micro.timing import QUICK, few
from proxy.config.describe import describe
from proxy.config.host import paused
from proxy.config.load import load
from proxy.core.addresses import Peer
from proxy.tools.lint import lint

COUNTS = (3, 10) if QUICK else (100, 1_000, 10_000)
HEAD = (
    'listen = "127.0.0.1:8443"\nupstream = ["http://127.0.0.1:8000", { url = "http://127.0.0.1:8001", weight = 2 }]\n'
)
ROUTE = """
[route.r{n}]
path = "/hooks/r{n}"
provider = "github"
secrets = [{{ from = "file:secrets/{n}", name = "current" }}]
allow = ["192.0.2.0/24", "198.51.100.{octet}"]
max_body = "1MiB"
"""
MIB = 1 << 20


def routes(folder: Path, count: int) -> None:
    (folder / "secrets").mkdir(exist_ok=True)
    texts = [HEAD]
    for n in range(count):
        path = folder / "secrets" / str(n)
        path.write_text(f"a secret of one route, {n:08}")
        path.chmod(0o600)
        texts.append(ROUTE.format(n=n, octet=n % 256))
    config = folder / "hookward.toml"
    config.write_text("".join(texts))
    started = time.process_time()
    with paused():  # as ``run`` does
        loaded = load(["--config", str(config)], {})
    loading = time.process_time() - started
    assert len(loaded.policy.routes) == count
    started = time.process_time()
    lint(loaded, time.time())
    describe(loaded)
    checking = time.process_time() - started
    print(
        f"{count:7,} routes: load {loading:7.3f} s, {loading / count * 1e3:6.3f} ms a route; "
        f"check {checking:7.3f} s, {checking / count * 1e3:6.3f} ms a route"
    )


def prefixes(folder: Path, count: int) -> None:
    # Every second /24 of 0.0.0.0/7 and so on: none touches the next, so all of them are kept.
    lines = (f"{n >> 15 & 255}.{n >> 7 & 255}.{n << 1 & 255}.0/24\n" for n in range(count))
    with (folder / "list").open("w") as file:
        file.writelines(lines)
    config = folder / "hookward.toml"
    config.write_text(HEAD + 'allow = ["file:list"]\n')
    gc.collect()
    before, most = rss(), peak()
    started = time.process_time()
    loaded = load(["--config", str(config)], {})
    loading = time.process_time() - started
    gc.collect()
    allow = loaded.policy.allow
    assert allow is not None
    assert len(allow) == count
    assert Peer.of("0.0.2.1") in allow
    assert Peer.of("0.0.1.1") not in allow
    kept, took = (rss() - before) / MIB, (max(most, peak()) - before) / MIB
    print(f"{count:9,} prefixes: {loading:6.3f} s, {kept:5.1f} MiB kept, {took:5.1f} MiB at most")


def rss() -> int:
    """Resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """The most there has been."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        if "--routes" not in sys.argv:
            prefixes(Path(name), few(1_000_000, 100))
        if "--prefixes" not in sys.argv:
            for number in COUNTS:
                routes(Path(name), number)
