"""A provider of one's own, from a ``[scheme.NAME]`` table: the same data, written by the operator.

Only what can be described in a table is offered: HMAC over a template. Single keys are judged by the schema; here, what
they mean together.
"""

from __future__ import annotations

from proxy.config.tree import Table
from proxy.core.schemes import Provider
from proxy.core.signing.scheme import Encoding, Listing, Scheme, SecretForm, TimeFormat, Timestamp
from proxy.core.signing.template import Slot, compile_template, open_borders, split_at_body

_OFFERED = frozenset(
    {"body", "timestamp", "id", "nonce", "method", "url", "target", "path", "query", "header", "param"}
)


def read_scheme(name: str, view: Table) -> Provider | None:
    """The provider that ``[scheme.name]`` describes; None where something in it is wrong."""
    before = len(view.problems.found)
    if "header" not in view:
        mend = 'write the header of the signature: header = "X-Acme-Signature"'
        view.lacks("header", "names no header", mend, "header")
    listing = _listing(view.table("list")) if "list" in view else None
    scheme = Scheme(
        headers=view.items("header", bytes),
        signed=view.need("signed", str),
        algorithm=view.need("algorithm", str),
        encoding=Encoding(view.need("encoding", str)),
        prefix=_bytes(view, "prefix"),
        listing=listing,
        timestamp=_timestamp(view, listing),
        identity=view.get("id", bytes),
        nonce=view.get("nonce", bytes),
        required=view.get("required", tuple) or (),
        secret=SecretForm(view.need("secret_encoding", str)),
    )
    if not view.doubtful("signed"):
        _check_signed(view, scheme, before)
    if len(view.problems.found) > before or any(view.doubtful(key.name) for key in view.section.keys):
        return None
    return Provider(
        slug=name,
        title=name,
        docs=view.get("docs", str) or "",
        scheme=scheme,
        event_header=view.get("event_header", bytes),
        event_place=view.need("event_place", str),
        delivery_header=view.get("delivery_header", bytes),
        refusal_status=view.get("refusal_status", int),
    )


def _bytes(view: Table, name: str) -> bytes:
    return view.need(name, str).encode("utf-8")


def _listing(view: Table) -> Listing:
    separator, pair = _bytes(view, "separator"), _bytes(view, "pair") or None
    signature, timestamp = _bytes(view, "signature"), _bytes(view, "timestamp") or None
    if not separator:
        view.wrong("separator", "is empty", 'write what stands between two items: separator = ","')
    if not signature and pair is not None:
        view.wrong("signature", "is empty", 'write the key of the signature: signature = "v1"')
    first = pair is None and timestamp is not None
    return Listing(separator, pair, signature, timestamp, timestamp_first=first, blanks=view.need("blanks", bool))


def _timestamp(scheme: Table, listing: Listing | None) -> Timestamp | None:
    in_list = listing is not None and listing.timestamp is not None
    if "timestamp" not in scheme:
        return Timestamp() if in_list else None
    view = scheme.table("timestamp")
    header = view.get("header", bytes)
    if header is None and not in_list and not view.doubtful("header"):
        scheme.wrong("timestamp", "is nowhere", "name its header, or its item of the list: list.timestamp")
    if header is not None and in_list:
        view.wrong("header", "is given although the list has the timestamp", "leave one of them out")
    return Timestamp(header, TimeFormat(view.need("format", str)), view.need("tolerance", float))


def _check_signed(view: Table, scheme: Scheme, before: int) -> None:
    try:
        parts = compile_template(scheme.signed)
        split_at_body(parts)
    except ValueError as error:
        view.wrong("signed", str(error), 'write what is signed, such as signed = "{timestamp}.{body}"')
        return
    _check_slots(view, scheme, {part.kind for part in parts if isinstance(part, Slot)})
    # Not of a template that is wrong anyway: what stands beside what may change with the mend.
    for pair in () if len(view.problems.found) > before else open_borders(scheme, whole_url=True):
        what = f"has nothing fixed in {pair}, so a sender can move characters from one to the other"
        time = 'a time may stand beside the body where its format is "s", "ms" or "rfc3339"'
        view.wrong("signed", what, f'put what the provider writes between them, as "." in "{{id}}.{{body}}"; {time}')


def _check_time(view: Table, scheme: Scheme, *, is_signed: bool) -> None:
    if is_signed and scheme.timestamp is None and not view.doubtful("timestamp", "list"):
        view.wrong("timestamp", "`timestamp` is missing although it is signed", 'write timestamp = { header = "..." }')
    if not is_signed and scheme.timestamp is not None:
        view.wrong("signed", "does not hold {timestamp}, so it proves nothing", "add it, or leave timestamp out")


def _check_slots(view: Table, scheme: Scheme, kinds: set[str]) -> None:
    for kind in sorted(kinds - _OFFERED):
        view.wrong("signed", f"{{{kind}}} cannot be used here", f"use {', '.join(sorted(_OFFERED))}")
    if "body" not in kinds:
        view.wrong("signed", "does not hold {body}, so a client could replace it", "add {body}")
    _check_time(view, scheme, is_signed="timestamp" in kinds)
    named = {"id": scheme.identity, "nonce": scheme.nonce}
    for kind in [kind for kind, name in named.items() if kind in kinds and name is None]:
        view.lacks(kind, f"`{kind}` is missing although it is signed", f'name its header: {kind} = "..."', kind)
