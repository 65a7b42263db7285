"""Signing with a private key of one's own, to try a provider whose route is given the public half of it.

Needs the package of the extra ``pubkey``; loaded only where such a provider is played.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.core.signing.scheme import Method

_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303  two providers sign so
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def sign_message(pem: bytes, method: Method, algorithm: str, message: bytes) -> bytes:
    """The signature of ``message`` by the private key in ``pem``; ECDSA in DER. ValueError, without a byte of the key,
    where it is none or of another kind.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("what was given is no private key in PEM, or it has a password") from None
    if isinstance(key, ed25519.Ed25519PrivateKey) and method is Method.ED25519:
        return key.sign(message)
    if isinstance(key, ec.EllipticCurvePrivateKey) and method is Method.ECDSA:
        return key.sign(message, ec.ECDSA(_DIGESTS[algorithm]))
    if isinstance(key, rsa.RSAPrivateKey) and method is Method.RSA:
        return key.sign(message, padding.PKCS1v15(), _DIGESTS[algorithm])
    raise ValueError(f"this private key is of another kind: the provider signs with {method.value}")
