"""Public keys are loaded only where they are needed, and their absence says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

from proxy import core
from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.proof import SignatureCheck, needs_public_keys
from proxy.core.signing.scheme import Secret

NEEDS_KEYS = {
    "discord",
    "ebay",
    "fusionauth_public_key",
    "kinde",
    "paypal",
    "plaid",
    "sendgrid",
    "sns",
    "standard_webhooks_v1a",
    "telnyx",
    "wise",
}


def test_who_needs_them():
    found = {slug for slug, one in PROVIDERS.items() if one.scheme is not None and needs_public_keys(one.scheme)}
    assert found == NEEDS_KEYS


@pytest.mark.parametrize("slug", sorted(NEEDS_KEYS))
def test_what_to_install(slug, monkeypatch):
    monkeypatch.delattr(core, "pubkey", raising=False)
    monkeypatch.setitem(sys.modules, "proxy.core.pubkey", None)
    with pytest.raises(ValueError, match="install the Python package cryptography"):
        decode_secret(PROVIDERS[slug], b"id:key")
    with pytest.raises(ValueError, match="install the Python package cryptography"):
        SignatureCheck(PROVIDERS[slug].scheme, (Secret("a", b"id:key"),))


def test_the_catalogue_alone_loads_no_cryptography():
    code = "import sys, proxy.core.schemes, proxy.config.schemes; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
