from __future__ import annotations

from proxy.config.keys import SCHEME, SCHEME_LIST, TIMESTAMP
from proxy.config.schema import SECTIONS


def test_they_are_the_keys_of_their_tables() -> None:
    for name, keys in (("scheme", SCHEME), ("timestamp", TIMESTAMP), ("list", SCHEME_LIST)):
        assert SECTIONS[name].keys == keys
        assert all(key.doc for key in keys)
