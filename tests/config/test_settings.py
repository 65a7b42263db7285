from __future__ import annotations

import dataclasses

import pytest

from proxy.config.settings import Loaded, Settings, TlsFiles
from tests.config.loading import ENDS, Workplace


def test_settings_do_not_change(place: Workplace) -> None:
    loaded = place.load(ENDS)
    assert isinstance(loaded, Loaded)
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.settings.workers = 2  # type: ignore[misc]
    assert isinstance(loaded.settings, Settings)


def test_a_certificate_says_where_it_was_written() -> None:
    assert TlsFiles("c", "k").where == "tls"
