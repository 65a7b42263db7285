"""What is read from a certificate agrees with what its maker wrote; broken bytes raise ValueError only."""

from __future__ import annotations

import hashlib
import ipaddress
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from proxy.net.beyond_ssl import Certificate, client_names, parse_certificate, read_certificate

KEY = ec.generate_private_key(ec.SECP256R1())
FROM = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make(
    *names: str | ipaddress.IPv4Address | ipaddress.IPv6Address, start=FROM, end=None, critical=False
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "not.looked.at")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(end or start + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        general = [x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=critical)
    return builder.sign(KEY, hashes.SHA256())


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def test_names_and_dates():
    names = (
        "hooks.example.com",
        "*.Example.ORG",
        ipaddress.ip_address("192.0.2.7"),
        ipaddress.ip_address("2001:db8::7"),
    )
    made = der(make(*names))
    assert parse_certificate(made) == Certificate(
        ("hooks.example.com", "*.example.org", "192.0.2.7", "2001:db8::7"),
        FROM.timestamp(),
        (FROM + timedelta(days=90)).timestamp(),
        hashlib.sha256(made).digest(),
    )


def test_a_critical_extension_reads_the_same():
    assert parse_certificate(der(make("hooks.example.com", critical=True))).names == ("hooks.example.com",)


def test_without_alternative_names_there_are_none():
    assert parse_certificate(der(make())).names == ()


@pytest.mark.parametrize("year", [1951, 1969, 1999, 2049, 2050, 2051, 9999])
def test_both_forms_of_a_date(year):
    start, end = datetime(1950, 1, 1, tzinfo=UTC), datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    read = parse_certificate(der(make("a.example", start=start, end=end)))
    assert (read.not_before, read.not_after) == (start.timestamp(), end.timestamp())


def test_the_first_of_a_chain_counts():
    chain = "a line of text\n" + pem(make("first.example")) + pem(make("second.example"))
    assert read_certificate(chain).names == ("first.example",)


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nMII", "-----END CERTIFICATE-----"]
)
def test_what_holds_no_certificate(text):
    with pytest.raises(ValueError, match="no certificate"):
        read_certificate(text)


@pytest.mark.parametrize("peer", [None, {}, {"subject": ()}])
def test_a_client_without_a_certificate_has_no_names(peer):
    assert client_names(peer) == frozenset()


def test_the_names_of_a_client():
    peer = {
        "subject": ((("organizationName", "Example"),), (("commonName", "CI Runner"),)),
        "subjectAltName": (
            ("DNS", "CI.example.com"),
            ("email", "ops@example.com"),
            ("URI", "spiffe://example.com/ci"),
            ("IP Address", "192.0.2.7"),
            ("DirName", ((("commonName", "not this"),),)),
        ),
    }
    names = {"ci runner", "ci.example.com", "ops@example.com", "spiffe://example.com/ci", "192.0.2.7"}
    assert client_names(peer) == names


GOOD = der(make("hooks.example.com", ipaddress.ip_address("192.0.2.7")))


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_else(data):
    with pytest.raises(ValueError):  # noqa: PT011 - the class is the claim
        parse_certificate(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)))
def test_a_broken_certificate_raises_nothing_else(at, byte, length):
    broken = (GOOD[:at] + bytes([byte]) + GOOD[at + 1 :])[:length]
    with suppress(ValueError):
        parse_certificate(broken)


@given(st.text(max_size=200))
def test_any_text_raises_nothing_else(text):
    with pytest.raises(ValueError):  # noqa: PT011
        read_certificate(f"-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----")
