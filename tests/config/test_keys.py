from __future__ import annotations

from proxy.config import kinds
from proxy.config.keys import Key, Section


def test_a_default_is_read_once() -> None:
    assert Key("drain", kinds.TIME, "", "5s").fallback == 5.0
    assert Key("methods", kinds.METHOD, "", ["POST"], many=True).fallback == (b"POST",)
    assert Key("tls", kinds.TABLE, "", many=True, table="tls").fallback is None


def test_a_section_knows_its_keys_by_name() -> None:
    key = Key("drain", kinds.TIME, "")
    section = Section("[x]", "", (key,))
    assert section.key("drain") is key
    assert section.key("other") is None
