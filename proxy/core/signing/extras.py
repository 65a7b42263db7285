"""The one way to what judges and makes signatures of key pairs, with a package that not every installation has."""

from __future__ import annotations

from types import ModuleType

from proxy.core.signing.scheme import PUBLIC_KEY_METHODS, Scheme, SecretForm
from proxy.errors import Mistake

_PUBLIC_KEY_FORMS = frozenset({SecretForm.PUBLIC_KEY, SecretForm.ED25519_HEX, SecretForm.ED25519_BASE64})


class NeedsPackageError(Mistake):
    """A package that not every installation has is needed, and is not there. ``package`` is its name."""

    def __init__(self, package: str) -> None:
        super().__init__("this provider signs with a public key", f"install the Python package {package}")
        self.package = package


def needs_public_keys(scheme: Scheme) -> bool:
    """Whether ``scheme`` cannot be checked with the standard library."""
    return scheme.method in PUBLIC_KEY_METHODS or scheme.secret in _PUBLIC_KEY_FORMS


def load_pubkey() -> ModuleType:
    """``proxy.core.pubkey``. Mistake where its package is not installed."""
    try:
        from proxy.core import pubkey
    except ImportError:
        raise NeedsPackageError("cryptography") from None
    return pubkey
