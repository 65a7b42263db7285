"""What the console costs traffic, and whether its memory stays flat: ``python -m bench.load.console cost`` or ``flat``.

``cost`` plays the same load in turns to four hookwards: without a console, without one again (what these two differ by
is the error of the machine), with one, and with one that five look at, two of whom read nothing. ``flat`` drives large
bodies and small deliveries for minutes while pages are asked for, and compares the resident memory of the last third
with that of the first, once the console has kept all that it may. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import selectors
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, median
from time import monotonic

from bench.load import delivery
from bench.load.bodies import send_bodies
from bench.load.open_loop import open_loop
from bench.load.process import FailedError, Server, free_port
from bench.load.stage import LOAD_CORE, Scale, Stage, stage
from bench.load.workloads import MIB, Figures, closed
from bench.peers.catalogue import PEERS, ROOT, Place, hookward

TOKEN = "a token that only looks"
VIEWERS, STUCK = 5, 2
#: Of what there is without a console: throughput at least, and p99 at most.
AT_LEAST, AT_MOST = {"on": 0.97, "watched": 0.95}, {"watched": 1.05}
KEEP_BYTES = 32 * MIB
#: How much the memory may grow, of KEEP_BYTES.
TOLERANCE = 0.1
#: So long nothing is compared: the rings fill, and the allocator finds its size.
WARM_UP = 0.2


def with_console(place: Place) -> list[str]:
    """As ``hookward``, with a console on a port that the file ``console`` tells."""
    command = hookward(place)
    token, port = place.folder / "token", free_port()
    token.write_text(TOKEN)
    token.chmod(0o600)
    (place.folder / "console").write_text(str(port))
    with Path(command[-1]).open("a") as config:
        config.write(f'\n[console]\nlisten = "127.0.0.1:{port}"\nread_token = "file:{token}"\n')
    return command


@contextlib.contextmanager
def serving(on: Stage, *, console: bool) -> Iterator[tuple[Server, int]]:
    """A hookward, and the port of its console or 0."""
    place = on.place(tls=False)
    command = (with_console if console else hookward)(place)
    with Server("hookward", command, place.port, on.scale.proxy_core, place.folder / "stderr.log", ROOT) as server:
        yield server, int((place.folder / "console").read_text()) if console else 0


@contextlib.contextmanager
def looking(port: int) -> Iterator[None]:
    """Five that look on at the stream of a console; two read nothing."""
    asked = f"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    over = threading.Event()
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number in range(VIEWERS):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sock.sendall(asked.encode())
            if number >= STUCK:
                selector.register(sock, selectors.EVENT_READ, sock)

        def read() -> None:
            while not over.is_set():
                for key, _ in selector.select(0.2):
                    key.fileobj.recv(65536)  # type: ignore[union-attr]

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()


# -- what it costs


def cost(options: argparse.Namespace, on: Stage) -> int:
    peer = PEERS["hookward"]
    rounds: dict[str, list[Figures]] = {"off": [], "off again": [], "on": [], "watched": []}
    with contextlib.ExitStack() as stack:
        turns: dict[str, Server] = {}
        for name in rounds:
            turns[name], port = stack.enter_context(serving(on, console=not name.startswith("off")))
            if name == "watched":
                stack.enter_context(looking(port))
        for number in range(options.rounds):
            for name in turns if number % 2 else reversed(turns):
                rounds[name].append(closed(on, peer, turns[name], connections=32))
    shares = {name: {key: ratio(rounds["off"], of, key) for key in ("per_s", "cpu_us", "p99_us")}
              for name, of in rounds.items()}  # fmt: skip
    for name, of in rounds.items():
        found, share = {key: median(one[key] for one in of) for key in shares[name]}, shares[name]
        print(
            f"{name:10} {found['per_s']:8,.0f} requests/s ({share['per_s']:.3f}),"
            f" CPU {found['cpu_us']:6.1f} µs ({share['cpu_us']:.3f}),"
            f" p99 {found['p99_us']:8,.0f} µs ({share['p99_us']:.3f})"
        )
    broken = judge(shares)
    print("\n".join(broken) or "as promised")
    return int(bool(broken))


def ratio(off: Sequence[Figures], of: Sequence[Figures], key: str) -> float:
    """The median of what each round made of the one without a console beside it."""
    return median(one[key] / beside[key] for one, beside in zip(of, off, strict=True))


def judge(shares: dict[str, Figures]) -> list[str]:
    """What was promised and not kept, as far as two that are the same agree."""
    error = {key: abs(share - 1) for key, share in shares["off again"].items()}
    broken = [
        f"{name}: {shares[name]['per_s']:.3f} of the throughput, not {least}"
        for name, least in AT_LEAST.items()
        if shares[name]["per_s"] + error["per_s"] < least
    ]
    return broken + [
        f"{name}: p99 is {shares[name]['p99_us']:.3f} of what it was, not {most}"
        for name, most in AT_MOST.items()
        if shares[name]["p99_us"] - error["p99_us"] > most
    ]


# -- whether memory is flat


def ask(port: int, path: str) -> bytes:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise FailedError(f"{path} was answered {answer.status}: {content[:200]!r}")
        return content


def flat(options: argparse.Namespace, on: Stage) -> int:
    large = delivery.request(delivery.body(on.scale.large_bytes))
    small = delivery.request(delivery.body())
    memory: list[int] = []
    with serving(on, console=True) as (server, port), looking(port), ThreadPoolExecutor(2) as threads:
        loads: list[Callable[[], Figures]] = [
            partial(open_loop, server.port, small, options.rate, options.seconds),
            partial(send_bodies, server.port, large, 1, options.seconds, options.bandwidth * MIB),
        ]
        under_way = [threads.submit(load) for load in loads]
        began = monotonic()
        while not all(load.done() for load in under_way):
            threading.Event().wait(1.0)
            for place in ("/", "/routes", "/api/v1/deliveries?q=forced+size%3E1k"):
                ask(port, place)
            memory.append(server.usage().rss_bytes)
        answered, bodies = (load.result() for load in under_way)
        counts = json.loads(ask(port, "/api/v1/status"))["console"]
        print(
            f"{monotonic() - began:,.0f} s: {answered['answered_per_s']:,.0f} small ones a second,"
            f" {bodies['deliveries']:,.0f} of {on.scale.large_bytes / MIB:g} MiB; the console has seen"
            f" {counts['seen']:,}, kept {counts['kept']:,} in {counts['bytes'] / MIB:.1f} MiB,"
            f" skipped {counts['skipped']:,}, cut {counts['cut']:,}"
        )
    compared = memory[int(len(memory) * WARM_UP) :]
    third = max(len(compared) // 3, 1)
    first, last = fmean(compared[:third]), fmean(compared[-third:])
    print(
        f"RSS {first / MIB:.1f} MiB in the first third, {last / MIB:.1f} in the last, {max(memory) / MIB:.1f} at most"
    )
    if last - first > TOLERANCE * KEEP_BYTES:
        print(f"it grew by more than {TOLERANCE:.0%} of keep_bytes")
        return 1
    print("flat")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load.console", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["cost", "flat"])
    parser.add_argument("--rounds", type=int, default=10, help="cost: of each [%(default)s]")
    parser.add_argument("--seconds", type=float, help="cost: of a round [3]; flat: of the whole [600]")
    parser.add_argument("--large", type=float, default=25.0, metavar="MIB", help="flat: of a large body [%(default)s]")
    parser.add_argument(
        "--bandwidth", type=float, default=10.0, metavar="MIB", help="flat: of them, a second [%(default)s]"
    )
    parser.add_argument("--rate", type=float, default=200.0, help="flat: small ones a second [%(default)s]")
    parser.add_argument("--no-pin", action="store_true", help="leave the choice of cores to the kernel")
    options = parser.parse_args(argv)
    options.seconds = options.seconds or (3.0 if options.what == "cost" else 600.0)
    pinned = not options.no_pin and (os.cpu_count() or 1) > 1
    if pinned:
        os.sched_setaffinity(0, {int(LOAD_CORE)})
    with tempfile.TemporaryDirectory() as folder:
        scale = Scale(Path(folder), seconds=options.seconds, large_bytes=int(options.large * MIB), pinned=pinned)
        with stage(scale) as on:
            return (cost if options.what == "cost" else flat)(options, on)


if __name__ == "__main__":
    sys.exit(main())
