from __future__ import annotations

import dataclasses

import pytest

from proxy.config.load import load
from proxy.config.settings import Loaded, Settings, TlsFiles
from tests.config.loading import ENDS, Workplace


def test_settings_do_not_change(place: Workplace) -> None:
    loaded = place.load(ENDS)
    assert isinstance(loaded, Loaded)
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.settings.workers = 2
    assert isinstance(loaded.settings, Settings)


def test_a_certificate_says_where_it_was_written() -> None:
    assert str(TlsFiles("c", "k").where) == "tls"


@pytest.mark.parametrize(
    ("before", "after", "more"),
    [
        ("", "", False),
        ("", "[tls]", True),
        ("[tls]", "", False),
        ("[tls]", "[tls]", False),
        ("[tls]", "[tls]\nclient_ca", True),
        ("[tls]", "[tls]\nclient_ca optional", False),
        ("[tls]\nclient_ca optional", "[tls]\nclient_ca", True),
        ("[tls]\nclient_ca", "[tls]\nclient_ca other", True),
        ("[tls]\nclient_ca", "[tls]\nclient_ca", False),
        ("[tls]\nclient_ca", "[tls]", False),
        ("", "proxy", True),
        ("proxy", "", False),
        ("proxy", "proxy", False),
    ],
)
def test_whether_more_is_asked_of_connections(before: str, after: str, more: bool) -> None:
    def settings(text: str) -> Settings:
        authority = ("other" if "other" in text else "ours") if "client_ca" in text else None
        tls = (TlsFiles("c", "k", client_ca=authority, client_required=authority is not None and "opt" not in text),)
        proxied = "require" if text == "proxy" else "off"
        base = load(["--listen", "127.0.0.1:1", "--upstream", "127.0.0.1:2"], {}).settings
        return dataclasses.replace(base, tls=tls if "[tls]" in text else (), proxy_protocol=proxied)

    assert settings(after).asks_more_than(settings(before)) is more
