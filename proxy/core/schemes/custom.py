"""A provider of one's own, from a ``[scheme.NAME]`` table: the same data, written by the operator.

Every mistake is found at once, with the key it stands at and how to mend it. Only what an operator can describe in a
table is offered: HMAC over a template. Nothing here reads a file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.borders import open_borders
from proxy.core.signing.scheme import Encoding, Listing, SecretForm, TimeFormat, Timestamp
from proxy.core.signing.template import Slot, compile_template, split_at_body

Mistake = tuple[str, str, str]  # key, what is wrong, how to mend it
ReadTime = Callable[[object], float]
T = TypeVar("T")

_KEYS = (
    "header",
    "algorithm",
    "encoding",
    "prefix",
    "signed",
    "timestamp",
    "list",
    "id",
    "nonce",
    "secret_encoding",
    "required",
    "event_header",
    "delivery_header",
    "refusal_status",
    "docs",
)
_TIMESTAMP_KEYS = ("header", "tolerance", "format")
_LIST_KEYS = ("separator", "pair", "signature", "timestamp", "blanks")
_ALGORITHMS = {name: name for name in ("sha1", "sha256", "sha384", "sha512")}
_ENCODINGS = {form.value: form for form in Encoding}
_FORMATS = {form.value: form for form in TimeFormat}
_SECRETS = {form.value: form for form in (SecretForm.RAW, SecretForm.HEX, SecretForm.BASE64, SecretForm.WHSEC)}
_REFUSALS: dict[int, int | None] = {400: 400, 401: 401, 403: 403, 404: 404}
_HEADER = re.compile(r"[A-Za-z0-9-]{1,256}")
_OFFERED = frozenset(
    {"body", "timestamp", "id", "nonce", "method", "url", "target", "path", "query", "header", "param"}
)


def provider_from_table(
    name: str, table: Mapping[str, object], read_time: ReadTime
) -> tuple[Provider | None, list[Mistake]]:
    """The provider that ``[scheme.name]`` describes, or None and every mistake in it. ``read_time`` reads times as the
    rest of the configuration has them: seconds of a text such as "300s", or ValueError.
    """
    reader = _Reader(table, read_time)
    reader.check_keys("", table, _KEYS)
    scheme = reader.scheme()
    event, delivery = reader.header("event_header"), reader.header("delivery_header")
    refusal = reader.choice("", table, "refusal_status", _REFUSALS, None)
    docs = reader.text("docs", "")
    if reader.mistakes:
        return None, reader.mistakes
    return (
        Provider(
            slug=name,
            title=name,
            docs=docs,
            scheme=scheme,
            event_header=event,
            delivery_header=delivery,
            refusal_status=refusal,
        ),
        [],
    )


class _Reader:
    """One table on its way to a scheme; what is wrong gathers in ``mistakes``."""

    def __init__(self, table: Mapping[str, object], read_time: ReadTime) -> None:
        self._table = table
        self._read_time = read_time
        self.mistakes: list[Mistake] = []

    def scheme(self) -> Scheme:
        table = self._table
        signed = self.text("signed", "{body}")
        listing = self._listing()
        timestamp = self._timestamp(listing)
        scheme = Scheme(
            headers=self._headers(),
            signed=signed,
            algorithm=self.choice("", table, "algorithm", _ALGORITHMS, "sha256"),
            encoding=self.choice("", table, "encoding", _ENCODINGS, Encoding.HEX),
            prefix=self.text("prefix", "").encode("utf-8"),
            listing=listing,
            timestamp=timestamp,
            identity=self.header("id"),
            nonce=self.header("nonce"),
            required=self._required(),
            secret=self.choice("", table, "secret_encoding", _SECRETS, SecretForm.RAW),
        )
        self._check_signed(scheme)
        return scheme

    def wrong(self, key: str, what: str, mend: str) -> None:
        """Note a mistake."""
        self.mistakes.append((key, what, mend))

    def check_keys(self, where: str, table: Mapping[str, object], known: Iterable[str]) -> None:
        """Note every key that is not ``known``, with the one that was probably meant."""
        names = list(known)
        for key in table:
            if key not in names:
                near = difflib.get_close_matches(key, names, 1)
                mend = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(names)}"
                self.wrong(where + key, "is not a key of this table", mend)

    def text(self, key: str, default: str, where: str = "", table: Mapping[str, object] | None = None) -> str:
        """The text at ``key``."""
        value = (self._table if table is None else table).get(key, default)
        if isinstance(value, str):
            return value
        self.wrong(where + key, "is not a text", f'write {key} = "..."')
        return default

    def choice(self, where: str, table: Mapping[str, object], key: str, known: Mapping[Any, T], default: T) -> T:
        """The one of ``known`` that ``key`` names."""
        if key not in table:
            return default
        value = table[key]
        for name, meaning in known.items():
            if name == value and not isinstance(value, bool):
                return meaning
        names = [str(name) for name in known]
        near = difflib.get_close_matches(value, names, 1) if isinstance(value, str) else []
        mend = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(names)}"
        self.wrong(where + key, f"{str(value)[:60]!r} is not known here", mend)
        return default

    def header(self, key: str, where: str = "", table: Mapping[str, object] | None = None) -> bytes | None:
        """The header name at ``key`` in lower case; None where there is none."""
        text = self.text(key, "", where, table)
        if not text:
            return None
        return self._header_name(where + key, text)

    def _header_name(self, key: str, text: str) -> bytes | None:
        if _HEADER.fullmatch(text):
            return text.lower().encode("ascii")
        mend = 'write the name alone, of letters, digits and "-", such as "X-Acme-Signature"'
        self.wrong(key, "is not the name of a header", mend)
        return None

    def _headers(self) -> tuple[bytes, ...]:
        value = self._table.get("header")
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            self.wrong("header", "names no header", 'write the header of the signature: header = "X-Acme-Signature"')
            return (b"",)
        found = (self._header_name("header", name) for name in names)
        return tuple(name for name in found if name is not None)

    def _table_at(self, key: str) -> Mapping[str, object] | None:
        value = self._table.get(key)
        if value is None:
            return None
        if isinstance(value, Mapping):
            return value
        self.wrong(key, "is not a table", f"write {key} = {{ ... }}")
        return None

    def _listing(self) -> Listing | None:
        table = self._table_at("list")
        if table is None:
            return None
        where = "list."
        self.check_keys(where, table, _LIST_KEYS)
        blanks = table.get("blanks", False)
        if not isinstance(blanks, bool):
            self.wrong(where + "blanks", "is neither true nor false", "write blanks = true")
        separator = self._bytes("separator", ",", table)
        if not separator:
            self.wrong(where + "separator", "is empty", 'write what stands between two items: separator = ","')
        pair = self._bytes("pair", "=", table) or None
        signature = self._bytes("signature", "v1", table)
        if not signature and pair is not None:
            self.wrong(where + "signature", "is empty", 'write the key of the signature: signature = "v1"')
        timestamp = self._bytes("timestamp", "", table) or None
        return Listing(
            separator=separator,
            pair=pair,
            signature=signature,
            timestamp=timestamp,
            timestamp_first=pair is None and timestamp is not None,
            blanks=blanks is True,
        )

    def _bytes(self, key: str, default: str, table: Mapping[str, object]) -> bytes:
        return self.text(key, default, "list.", table).encode("utf-8")

    def _timestamp(self, listing: Listing | None) -> Timestamp | None:
        in_list = listing is not None and listing.timestamp is not None
        table = self._table_at("timestamp")
        if table is None:
            return Timestamp() if in_list else None
        where = "timestamp."
        self.check_keys(where, table, _TIMESTAMP_KEYS)
        header = self.header("header", where, table)
        if header is None and not in_list:
            self.wrong("timestamp", "is nowhere", "name its header, or its item of the list: list.timestamp")
        if header is not None and in_list:
            self.wrong(where + "header", "is given although the list has the timestamp", "leave one of them out")
        form = self.choice(where, table, "format", _FORMATS, TimeFormat.SECONDS)
        return Timestamp(header, form, self._duration(where, table))

    def _duration(self, where: str, table: Mapping[str, object]) -> float:
        value = table.get("tolerance", "300s")
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return float(value)  # a bare number was always of seconds here
        try:
            return self._read_time(value)
        except ValueError as error:
            self.wrong(where + "tolerance", str(error), 'write a number and its unit: tolerance = "300s"')
            return 300.0

    def _required(self) -> tuple[tuple[bytes, bytes], ...]:
        table = self._table_at("required") or {}
        pairs: list[tuple[bytes, bytes]] = []
        for name, value in table.items():
            header = self._header_name(f"required.{name}", name)
            if header is not None and isinstance(value, str) and value:
                pairs.append((header, value.encode("utf-8")))
            elif header is not None:
                self.wrong(f"required.{name}", "is not a text", "write the value that the header must have")
        return tuple(pairs)

    def _check_signed(self, scheme: Scheme) -> None:
        try:
            parts = compile_template(scheme.signed)
            split_at_body(parts)
        except ValueError as error:
            self.wrong("signed", str(error), 'write what is signed, such as signed = "{timestamp}.{body}"')
            return
        kinds = {part.kind for part in parts if isinstance(part, Slot)}
        for kind in sorted(kinds - _OFFERED):
            self.wrong("signed", f"{{{kind}}} cannot be used here", f"use {', '.join(sorted(_OFFERED))}")
        if "body" not in kinds:
            self.wrong("signed", "does not hold {body}, so anybody could replace it", "add {body}")
        if "timestamp" in kinds and scheme.timestamp is None:
            self.wrong("timestamp", "is missing although it is signed", 'write timestamp = { header = "..." }')
        if scheme.timestamp is not None and "timestamp" not in kinds:
            self.wrong("signed", "does not hold {timestamp}, so it proves nothing", "add it, or leave timestamp out")
        for kind, name in (("id", scheme.identity), ("nonce", scheme.nonce)):
            if kind in kinds and name is None:
                self.wrong(kind, "is missing although it is signed", f'name its header: {kind} = "..."')
        # Not of a template that is wrong anyway: what stands beside what may change with the mend.
        for pair in () if self.mistakes else open_borders(scheme, whole_url=True):
            self.wrong(
                "signed",
                f"has nothing fixed in {pair}, so a sender can move characters from one to the other",
                'put what the provider writes between them, as "." in "{id}.{body}"; a time may stand beside the body '
                'where its format is "s", "ms" or "rfc3339"',
            )
