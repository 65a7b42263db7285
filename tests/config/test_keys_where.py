from __future__ import annotations

from typing import Any

import pytest

from proxy.config.keys import MAX_CONDITIONS, read_where
from proxy.core.payload import Glob, PayloadCondition, Pointer
from proxy.errors import Mistake


def test_tables_in_tables_are_places_with_dots() -> None:
    nested = read_where({"repository": {"full_name": "org/*", "owner": {"login": "me"}}, "action": "opened"})
    flat = read_where({"repository.full_name": "org/*", "repository.owner.login": "me", "action": "opened"})
    assert nested == flat
    assert [one.place.text for one in flat] == ["repository.full_name", "repository.owner.login", "action"]


def test_values() -> None:
    [one] = read_where({"a": ["x", "!y", 1, True, "\\!z"]})
    assert one == PayloadCondition(Pointer("a", ("a",)), (Glob(("x",)), 1, True, Glob(("!z",))), (Glob(("y",)),))
    assert str(one) == "is 'x' or 1 or true or '!z' and is not 'y'"


@pytest.mark.parametrize(
    ("written", "what", "mend"),
    [
        ("action", "not a table", "repository.full_name"),
        ({}, "empty table", "remove the key"),
        ({"a": {}}, "empty table", "remove the key"),
        ({"a": []}, "'a' has an empty list", "at least one"),
        ({"a..b": "x"}, "'a..b' is no place", "dots between"),
        ({"a": {"": "x"}}, "'a.' is no place", "dots between"),
        ({"a[0]": "x"}, "'a[0]' is no place", "labels[].name"),
        ({"a": [["x"]]}, "no text, number or boolean", "a list of them"),
        ({"a": "x\\y"}, "backslash before a sign", "and !"),
        ({"a": "x\\"}, "backslash before a sign", "and !"),
        ({str(number): 1 for number in range(MAX_CONDITIONS + 1)}, "33 conditions", "at most 32"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_mistakes(written: Any, what: str, mend: str) -> None:
    with pytest.raises(Mistake) as caught:
        read_where(written)
    assert what in caught.value.what
    assert mend in caught.value.mend
