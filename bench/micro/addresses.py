"""What a decision about an address costs: ``python -m bench.micro.addresses`` prints medians in microseconds.

The sets have as many prefixes as their name says, of IPv4 and IPv6, and none merges with its neighbour; each call
decides about one of 512 peers, half of them inside. What is done once per refresh is measured too, in one go.
"""

import json
import random
import time
from functools import partial

from bench.micro.timing import QUICK, few, median_us
from proxy.core.addresses import AddressSet, Peer
from proxy.core.ip_sets import Shape, read_document

PEERS = 512
FEED_ENTRIES = few(15_000, 200)  # as AWS


def prefixes(count):
    """``count`` networks, half of each version, that do not touch one another."""
    four = [f"{10 + (n >> 15)}.{n >> 7 & 255}.{(n & 127) << 1}.0/24" for n in range(count - count // 2)]
    return four + [f"2001:db8:{n:x}::/49" for n in range(count // 2)]


def peers(networks):
    """Peers inside and next to the networks, in random order."""
    chosen = random.Random(1).sample(networks, min(PEERS // 2, len(networks)))
    texts = [network.partition("/")[0] for network in chosen]
    inside = [text[:-1] + "7" if "." in text else f"{text}7" for text in texts]
    outside = [f"{n >> 8 & 127}.200.{n & 255}.9" if n & 1 else f"2a00:{n:x}::1" for n in range(PEERS // 2)]
    found = [Peer.of(text) for text in inside + outside]
    random.Random(2).shuffle(found)
    return found


def decide(addresses, candidates):
    """Judge every candidate; the loop itself is part of the figure (0.02 µs each)."""
    for peer in candidates:
        peer in addresses  # noqa: B015 - the question is what is measured


def feed():
    """A document like AWS's."""
    rows = [
        {"ip_prefix": network, "region": f"region-{n % 30}", "service": f"S{n % 20}"}
        for n, network in enumerate(prefixes(FEED_ENTRIES))
    ]
    return json.dumps({"prefixes": rows}).encode()


if __name__ == "__main__":
    for count in (10, 100) if QUICK else (10, 100, 1000, 10_000, 100_000):
        networks = prefixes(count)
        addresses, candidates = AddressSet.parse(networks), peers(networks)
        assert len(addresses) == count
        each = median_us(partial(decide, addresses, candidates)) / len(candidates)
        print(f"{f'one peer, {count} prefixes':40} {each:10.3f} µs")
    shape, document = Shape.parse("prefixes[].ip_prefix", ("service", "region")), feed()
    began = time.perf_counter()
    listing = read_document(document, shape)
    print(f"{f'reading a feed of {FEED_ENTRIES}':40} {(time.perf_counter() - began) * 1e3:10.1f} ms, once per refresh")
    began = time.perf_counter()
    listing.select("service=S1")
    print(f"{'choosing from it':40} {(time.perf_counter() - began) * 1e3:10.1f} ms, once per refresh")
