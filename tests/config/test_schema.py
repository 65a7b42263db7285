from __future__ import annotations

import pytest

from proxy.config.keys import Key
from proxy.config.schema import SECTIONS

KEYS = [(name, key) for name, section in SECTIONS.items() for key in section.keys]


@pytest.mark.parametrize(("section", "key"), KEYS, ids=[f"{section}.{key.name}" for section, key in KEYS])
def test_every_key_is_whole(section: str, key: Key) -> None:
    assert key.doc.endswith(".") or key.doc.endswith("…") or key.doc.endswith("22.")
    if isinstance(key.default, list):
        assert [key.kind.read(value) for value in key.default]
    elif key.default is not None:
        key.kind.read(key.default)
    if key.table:
        assert key.table in SECTIONS
    if key.bare:
        assert SECTIONS[key.table].key(key.bare)


def test_no_name_twice() -> None:
    for section in SECTIONS.values():
        names = [key.name for key in section.keys]
        assert len(set(names)) == len(names)
