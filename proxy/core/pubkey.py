"""Signatures with public keys: Ed25519 (RFC 8032), ECDSA, RSA PKCS#1 v1.5, over pyca/cryptography.

Loaded only where such a scheme is configured (it needs cryptography). RSA and ECDSA are over a digest, so the body
streams; Ed25519 wants its message in one piece. Keys are configured, never fetched: no address in a delivery decides
which key is believed. To try such a provider, ``sign_message`` signs with a private key of one's own.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509 import load_pem_x509_certificate

from proxy.core.signing.documents import Tree, read_claims
from proxy.core.signing.evidence import EvidenceReader
from proxy.core.signing.mac import Hash, Match, Verification
from proxy.core.signing.scheme import Method, Scheme, Secret, SecretForm, decode_base64, decode_base64url, decode_hex
from proxy.core.signing.template import Transform, make_transform
from proxy.errors import Mistake
from proxy.http1 import Piece, RequestHead
from proxy.reasons import Reason

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303  two providers sign so
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_JOSE_DIGESTS = {"256": "sha256", "384": "sha384", "512": "sha512"}
_KINDS = {
    Method.ED25519: (ed25519.Ed25519PublicKey,),
    Method.ECDSA: (ec.EllipticCurvePublicKey,),
    Method.RSA: (rsa.RSAPublicKey,),
}
_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
    "P-521": (ec.SECP521R1(), 66),
}
_FAULTS = (ValueError, TypeError, KeyError, UnsupportedAlgorithm, binascii.Error)


def decode_public_key(form: SecretForm, method: Method, text: bytes) -> bytes:
    """SubjectPublicKeyInfo (DER) of the key that ``text`` writes. Mistake where it is none."""
    try:
        key = _read_key(form, text.strip())
    except _FAULTS:
        mend = "give PEM, a certificate in PEM, a JSON Web Key, or the text that the provider shows"
        raise Mistake("this is no public key", mend) from None
    wanted = _KINDS.get(method)
    if wanted is not None and not isinstance(key, wanted):
        raise Mistake("this public key is of another kind", f"the provider signs with {method.value}")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read_key(form: SecretForm, text: bytes) -> PublicKey:
    read = next((read for start, read in _BY_START.items() if text.startswith(start)), None)
    key = (read or _BY_FORM.get(form, _read_der))(text)
    if isinstance(key, PublicKey):
        return key
    raise TypeError("no kind of key that we know")


def _read_der(text: bytes) -> object:
    return load_der_public_key(decode_base64(b"".join(text.split())) or b"")


#: How a text that begins so is read, in this order; any other by its form.
_BY_START: dict[bytes, Callable[[bytes], object]] = {
    b"-----BEGIN CERTIFICATE": lambda text: load_pem_x509_certificate(text).public_key(),
    b"-----BEGIN": load_pem_public_key,
    b"{": lambda text: _read_jwk(read_claims(text) or {}),
}
_raw_ed25519 = ed25519.Ed25519PublicKey.from_public_bytes
_BY_FORM: dict[SecretForm, Callable[[bytes], object]] = {
    SecretForm.ED25519_HEX: lambda text: _raw_ed25519(decode_hex(text) or b""),
    SecretForm.ED25519_BASE64: lambda text: _raw_ed25519(decode_base64(text.removeprefix(b"whpk_")) or b""),
}


def _read_jwk(jwk: Tree) -> object:
    """RFC 7517, RFC 8037."""
    number = {
        name: decode_base64url(str(jwk[name]).encode("ascii")) or b"" for name in ("n", "e", "x", "y") if name in jwk
    }
    if jwk.get("kty") == "RSA":
        return rsa.RSAPublicNumbers(int.from_bytes(number["e"]), int.from_bytes(number["n"])).public_key()
    if jwk.get("kty") == "EC":
        curve = _CURVES[str(jwk["crv"])][0]
        return ec.EllipticCurvePublicNumbers(
            int.from_bytes(number["x"]), int.from_bytes(number["y"]), curve
        ).public_key()
    if jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(number["x"])
    raise ValueError("no kind of key that we know")


def load_key(spki: bytes) -> PublicKey:
    """The key of a decoded secret. ValueError where it is none."""
    try:
        key = load_der_public_key(spki)
    except _FAULTS:
        raise ValueError("the secret of this scheme is a public key, decoded as the provider writes it") from None
    if isinstance(key, PublicKey):
        return key
    raise ValueError("this public key is of a kind that no provider uses")


def _verify_digest(key: PublicKey, signature: bytes, digest: bytes, algorithm: str, /) -> bool:
    """Whether ``signature`` over the message with ``digest`` is ``key``'s; ECDSA in DER."""
    prehashed = Prehashed(_DIGESTS[algorithm])
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), prehashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(prehashed))
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _verify_message(key: PublicKey, signature: bytes, message: bytes, _algorithm: str, /) -> bool:
    """Ed25519, which signs no digest but the message."""
    if not isinstance(key, ed25519.Ed25519PublicKey):
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _verify_jose(key: PublicKey, signature: bytes, message: bytes, name: str, /) -> bool:
    """The same by the names of RFC 7518: the kind of the key and, for ECDSA, the length must fit the name."""
    if name == "EdDSA":
        return isinstance(key, ed25519.Ed25519PublicKey) and _verify_message(key, signature, message, "")
    digest = _JOSE_DIGESTS[name[2:]]
    if name.startswith("RS"):
        return isinstance(key, rsa.RSAPublicKey) and _verify_digest(
            key, signature, hashlib.new(digest, message).digest(), digest
        )
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    half = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * half:
        return False
    pair = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    return _verify_digest(key, pair, hashlib.new(digest, message).digest(), digest)


def _load_keys(scheme: Scheme, secrets: tuple[Secret, ...]) -> list[tuple[Secret, bytes, PublicKey]]:
    """Each secret with the id and the key that it holds."""
    parts = [(secret, scheme.split_key(secret.value)) for secret in secrets]
    return [(secret, key_id, load_key(key)) for secret, (key_id, key) in parts]


class PublicKeyJudge:
    """The live public keys of a route, for messages that are there whole. Nothing in them is secret."""

    __slots__ = ("_digests", "_keys", "_verify")

    def __init__(self, scheme: Scheme, secrets: tuple[Secret, ...]) -> None:
        self._digests = scheme.claims is None and scheme.method is not Method.ED25519
        verify = _verify_digest if self._digests else _verify_message
        self._verify = verify if scheme.claims is None else _verify_jose
        self._keys = _load_keys(scheme, secrets)

    def match(self, message: bytes, signatures: Sequence[bytes], algorithm: str, now: float) -> Match | None:
        """Whose signature over ``message`` is among ``signatures``."""
        if self._digests:
            message = hashlib.new(algorithm, message).digest()  # once for all of them
        for secret, key_id, key in self._keys:
            if secret.live(now) and any(self._verify(key, one, message, algorithm) for one in signatures):
                return Match(secret.name, key_id)
        return None


class DigestTrack:
    """The digest of the signed text so far, for the keys whose text it is: it may begin with the id of the key."""

    __slots__ = ("keys", "running")

    def __init__(self, running: Hash) -> None:
        self.keys: list[tuple[str, PublicKey]] = []
        self.running = running


class DigestVerification(Verification):
    """One streamed body against all signatures and all live public keys."""

    __slots__ = ("_algorithm", "_matched", "_signatures", "_suffix", "_tracks", "_transform")

    def __init__(
        self,
        tracks: list[DigestTrack],
        signatures: list[bytes],
        suffix: bytes,
        algorithm: str,
        transform: Transform | None,
    ) -> None:
        self._tracks = tracks
        self._signatures = signatures
        self._suffix = suffix
        self._algorithm = algorithm
        self._transform = transform
        self._matched: list[bytes] = []

    def update(self, chunk: Piece) -> None:
        """Take the next bytes of the raw body."""
        if self._transform is not None:
            chunk = self._transform.feed(bytes(chunk))
        for track in self._tracks:
            track.running.update(chunk)

    def finish(self) -> str | Reason:
        """The name of the key that matched, or why none did."""
        rest = b"" if self._transform is None else self._transform.finish()
        for track in self._tracks:
            track.running.update(rest + self._suffix)
            digest = track.running.digest()
            for name, key in track.keys:
                if any(_verify_digest(key, one, digest, self._algorithm) for one in self._signatures):
                    self._matched.append(digest)
                    return name
        return Reason.SIGNATURE_MISMATCH

    def marks(self) -> list[bytes]:
        """The digest that was signed. Not the signature: of an ECDSA signature anybody can make another one."""
        return self._matched


class DigestPlan:
    """RSA or ECDSA over the template with the body streamed."""

    __slots__ = ("_keys", "_reader", "_scheme")

    whole_body = False

    def __init__(self, scheme: Scheme, secrets: tuple[Secret, ...], reader: EvidenceReader) -> None:
        self._scheme = scheme
        self._reader = reader
        self._keys = _load_keys(scheme, secrets)

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""
        evidence = self._reader.read(head, now)
        if isinstance(evidence, Reason):
            return evidence
        context = evidence.context
        suffix = context.render(self._reader.suffix)
        if isinstance(suffix, Reason):
            return suffix
        tracks: dict[bytes, DigestTrack] = {}
        for secret, key_id, key in self._keys:
            if not secret.live(now):
                continue
            context.key_id = key_id
            prefix = context.render(self._reader.prefix)
            if isinstance(prefix, Reason):
                return prefix
            track = tracks.get(prefix)
            if track is None:
                track = tracks[prefix] = DigestTrack(hashlib.new(self._scheme.algorithm, prefix))
            track.keys.append((secret.name, key))
        transform = make_transform(self._scheme.body_forms[0])
        return DigestVerification(list(tracks.values()), evidence.signatures, suffix, self._scheme.algorithm, transform)


def sign_message(pem: bytes, method: Method, algorithm: str, message: bytes) -> bytes:
    """The signature of ``message`` by a private key (ECDSA in DER). ValueError, without the key, if it is unfit."""
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
