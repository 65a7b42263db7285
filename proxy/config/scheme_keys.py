"""The keys of ``[scheme.NAME]``, which describe a provider of one's own: a part of the one table of all (``schema``).
This module reads nothing and decides nothing.
"""

from __future__ import annotations

from proxy.config import kinds
from proxy.config.keys import Key
from proxy.config.kinds import choice
from proxy.config.where import PLACE
from proxy.core.signing.scheme import Encoding, TimeFormat

SCHEME = (
    Key("header", kinds.HEADER, "The header of the signature (or a list of them, any of which may match).", many=True),
    Key("algorithm", choice("sha1", "sha256", "sha384", "sha512"), "The digest of the HMAC.", "sha256"),
    Key("encoding", choice(*(form.value for form in Encoding)),
        "How the signature is written.", "hex"),
    Key("prefix", kinds.LITERAL, "What stands before the signature, such as `sha256=`.", ""),
    Key("signed", kinds.LITERAL, "What is signed, in order: `{body}`, `{timestamp}`, `{id}`, `{nonce}`, `{method}`, "
        "`{url}`, `{target}`, `{path}`, `{query}`, `{header:NAME}`, `{param:NAME}` and literal text.", "{body}"),
    Key("timestamp", kinds.TABLE, "When it was signed: what `{timestamp}` stands for.", table="timestamp"),
    Key("list", kinds.TABLE, "How a header is read that is a list.", table="list"),
    Key("id", kinds.HEADER, "The header of `{id}`."),
    Key("nonce", kinds.HEADER, "The header of `{nonce}`."),
    Key("secret_encoding", choice("raw", "hex", "base64", "whsec"), "What must be decoded before it is a key.", "raw"),
    Key("required", kinds.FIELDS, "A table: headers that must have exactly this value."),
    Key("event_header", kinds.HEADER, "The header that names the event, for `events` and the log."),
    Key("event_place", PLACE, "Where the event stands in the payload, where no header has it: `event.type`.",
        ""),
    Key("delivery_header", kinds.HEADER, "The header that names the delivery, for the log."),
    Key("refusal_status", kinds.REFUSAL, "The status that the provider demands instead of 403: 400, 401 or 404."),
    Key("docs", kinds.TEXT, "Where the provider describes it."),
)  # fmt: skip

TIMESTAMP = (
    Key("header", kinds.HEADER, "Its header; left out, where the list has it."),
    Key("tolerance", kinds.SECONDS, "How old or new it may be; a bare number is of seconds.", "300s"),
    Key("format", choice(*(form.value for form in TimeFormat)), "How it is written.", "s"),
)

LIST = (
    Key("separator", kinds.LITERAL, "What stands between two items.", ","),
    Key("pair", kinds.LITERAL, "What stands between the key and the value of an item; empty where items have no keys.",
        "="),
    Key("signature", kinds.LITERAL, "The key of the signature.", "v1"),
    Key("timestamp", kinds.LITERAL, "The key of the timestamp; without keys any word, and the timestamp comes first.",
        ""),
    Key("blanks", kinds.BOOL, "Whether blanks around an item are dropped.", False),
)  # fmt: skip
