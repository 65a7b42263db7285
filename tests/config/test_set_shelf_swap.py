"""New copies go into every list that asks for them, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

from proxy.config.load import load
from proxy.config.set_shelf import FEEDS, Copy, SetShelf, with_current_sets
from proxy.core.addresses import Peer
from proxy.core.ip_sets import listing_of

NEW = Peer.of("192.0.2.77")
TEXT = """\
listen = "127.0.0.1:8443"
upstream = "127.0.0.1:8000"
trusted_proxies = ["10.0.0.0/8"]
[route.one]
path = "/one"
allow = ["set:github", "198.51.100.1"]
[route.two]
path = "/two"
allow = ["198.51.100.2"]
"""


def test_only_lists_with_sets_are_made_anew(tmp_path: Path):
    path = tmp_path / "hookward.toml"
    path.write_text(TEXT)
    shelf = SetShelf()
    loaded = load(["--config", str(path)], {}, shelf=shelf)
    path.unlink()
    shelf.put(FEEDS["github"], Copy(listing_of({(): ["192.0.2.0/24"]}), 1.0, "feed"))
    fresh = with_current_sets(loaded, 7)
    one, two = fresh.policy.routes
    assert fresh.policy.generation == 7
    assert one.allow is not None
    assert NEW in one.allow
    assert Peer.of("198.51.100.1") in one.allow
    assert Peer.of("192.30.252.1") not in one.allow
    assert two.allow is loaded.policy.routes[1].allow
    assert fresh.policy.trusted_proxies is loaded.policy.trusted_proxies
    assert fresh.policy.admission is not None
    for text in ("192.0.2.77", "198.51.100.1", "198.51.100.2", "10.1.1.1"):
        assert Peer.of(text) in fresh.policy.admission
    assert Peer.of("10.1.1.1") not in (fresh.policy.allow or ())
    assert NEW not in (loaded.policy.admission or ())
    # and again, from what came of it
    shelf.put(FEEDS["github"], Copy(listing_of({(): ["203.0.113.0/24"]}), 2.0, "feed"))
    again = with_current_sets(fresh, 8)
    assert NEW not in (again.policy.admission or ())
    assert Peer.of("203.0.113.1") in (again.policy.routes[0].allow or ())


def test_a_load_without_sets_is_what_it_was(tmp_path: Path):
    loaded = load(["--listen", "127.0.0.1:1", "--upstream", "127.0.0.1:2", "--open"], {})
    fresh = with_current_sets(loaded, 2)
    assert fresh.policy.admission is None
    assert fresh.policy.routes == loaded.policy.routes
