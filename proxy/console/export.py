"""A kept delivery as something to take away: a curl line, raw HTTP, a HAR file. Masked, and byte for byte but for that.

The curl line is for a shell, so quoting is a border of security: what is not printable ASCII is written as octal
escapes that ``printf`` turns back, so no byte of a delivery reaches the shell, or a terminal that it is pasted into, as
anything but text. POSIX ``sh`` and curl 7.55 or newer read it.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from proxy.config.guarded_files import make_folder, write_private
from proxy.console.kept import Json, KeptExchange, Masking, content, shown_target
from proxy.http1 import Framing, RequestHead, ResponseHead, utc_text, write_request_head

#: A word that begins with none of a program's own signs, and is ASCII that can be read.
_PLAIN = re.compile(rb"[\x20-\x7e]*")
#: One argument of a program has 128 KiB at most (execve(2)); ``printf`` is the shell's own, and has no bound.
_MAX_ARGUMENT = 64 * 1024


def export(kept: KeptExchange, masking: Masking, form: str) -> Json | None:
    """The delivery in a form of ``FORMS``; None where there is no such form."""
    head = kept.head
    if form not in FORMS or head is None:
        return None
    write, ending = FORMS[form]
    data = write(kept, head, masking)
    text = None
    with suppress(UnicodeDecodeError):
        text = data.decode("utf-8")
    return {"as": form, "name": f"{kept.id}.{ending}", "text": text, "base64": b64encode(data).decode("ascii")}


def as_raw(kept: KeptExchange, head: RequestHead, masking: Masking) -> bytes:
    """The request as it came; its content as one piece, however it was cut."""
    fields = masking.fields(head.fields)
    if head.framing is Framing.CHUNKED:
        fields = [pair for pair in fields if pair[0].lower() != b"transfer-encoding"]
        fields.append((b"Content-Length", b"%d" % len(kept.content)))
    return write_request_head(head.method, shown_target(kept, head, masking), fields) + masking.body(kept.content)


def as_curl(kept: KeptExchange, head: RequestHead, masking: Masking) -> bytes:
    """One command of a shell that sends the request."""
    body = masking.body(kept.content)
    url = b"%b://%b/" % (kept.record.scheme.encode("ascii"), head.host or b"localhost")
    method = [b"--head"] if head.method == b"HEAD" else [b"-X", quoted(head.method)]
    target = quoted(shown_target(kept, head, masking))
    words = [b"curl", b"--globoff", b"--path-as-is", *method, b"--request-target", target]
    given = {name for name, _ in head.fields}
    # What curl adds of itself is taken out where it did not come.
    words += [part for name in (b"User-Agent", b"Accept", b"Content-Type", b"Expect") if name.lower() not in given
              for part in (b"-H", b"'%b:'" % name)]  # fmt: skip
    for name, value in masking.fields(head.fields):
        if name.lower() != b"content-length":
            words += [b"-H", quoted(name + b": " + value if value else name + b";")]
    has_content = head.framing is not Framing.NONE
    line = b""
    if has_content and (len(body) > _MAX_ARGUMENT or _PLAIN.fullmatch(body) is None):
        line = b"printf '%b' | " % escaped(body)
        words += [b"--data-binary", b"@-"]
    elif has_content:
        words += [b"--data-raw", quoted(body)]
    return line + b" ".join([*words, quoted(url)]) + b"\n"


def quoted(word: bytes) -> bytes:
    """A word of a command line that a shell reads as exactly these bytes. There is no NUL in it."""
    if _PLAIN.fullmatch(word) is not None:
        return b"'" + word.replace(b"'", b"'\\''") + b"'"
    # The substitution would drop line ends from the end; heads have none, and bodies are piped.
    return b"\"$(printf '%b')\"" % escaped(word)


def escaped(data: bytes) -> bytes:
    """A format of ``printf`` that prints exactly these bytes; ASCII, and without a quotation mark."""
    return b"".join(_ESCAPES[byte] for byte in data)


_ESCAPES = [
    bytes([byte]) if 0x20 <= byte <= 0x7E and byte not in b"'\\%-\"$`!" else b"\\%03o" % byte for byte in range(256)
]


def as_har(kept: KeptExchange, head: RequestHead, masking: Masking) -> bytes:
    """An HTTP archive (HAR 1.2) of one entry."""
    record, answer = kept.record, kept.reply
    body = content(masking.body(kept.content), record.bytes_in, cut=kept.cut, fields=head)
    reply = content(masking.text(kept.answer_content), record.bytes_out, cut=kept.answer_cut, fields=answer)
    target = shown_target(kept, head, masking).decode("latin-1")
    entry = {
        "startedDateTime": datetime.fromtimestamp(record.started, UTC).isoformat(),
        "time": round(record.duration_s * 1000, 3),
        "request": {
            "method": record.method,
            "url": f"{record.scheme}://{record.host}{target}",
            "queryString": [],
            **_message(f"HTTP/1.{record.minor}", masking.fields(head.fields), len(kept.raw), record.bytes_in),
            "postData": _har_content(body, head),
        },
        "response": {
            "status": record.status,
            "statusText": "",
            "redirectURL": "",
            **_message("HTTP/1.1", [] if answer is None else masking.fields(answer.fields), -1, record.bytes_out),
            "content": {"size": record.bytes_out, **_har_content(reply, answer)},
        },
        "cache": {},
        "timings": {"send": 0, "wait": round(record.upstream_duration_s * 1000, 3), "receive": 0},
    }
    log = {"version": "1.2", "creator": {"name": "hookward", "version": "1"}, "entries": [entry]}
    return json.dumps({"log": log}, indent=1).encode("ascii")


def _message(version: str, fields: list[tuple[bytes, bytes]], head_bytes: int, body_bytes: int) -> Json:
    headers = [{"name": name.decode("latin-1"), "value": value.decode("latin-1")} for name, value in fields]
    sizes = {"headersSize": head_bytes, "bodySize": body_bytes}
    return {"httpVersion": version, "headers": headers, "cookies": [], **sizes}


def _har_content(shown: Json, head: RequestHead | ResponseHead | None) -> Json:
    kind = b"" if head is None else head.get(b"content-type") or b""
    encoding = {"encoding": "base64"} if shown["encoding"] == "base64" else {}
    return {"mimeType": kind.decode("latin-1"), "text": shown["text"], **encoding}


#: What writes each form, and how the name of such a file ends.
FORMS: dict[str, tuple[Callable[[KeptExchange, RequestHead, Masking], bytes], str]] = {
    "raw": (as_raw, "http"),
    "curl": (as_curl, "sh"),
    "har": (as_har, "har"),
}


# -- Keeps a delivery as a test: a file on the host (0600) and the ``[[test]]`` stanza that names it.
#
# The file has the delivery as it came, with its proof: else it would be no test. So it is written where the
# operator's own files are, and nothing of it goes to the page.

FOLDER = "tests"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WORD = re.compile(r"[a-z_]{1,40}")


def keep(kept: KeptExchange, how: Mapping[str, Any], state_dir: str | None) -> Json:
    """Write the file; gives its path and the stanza, or what is wrong and how to mend it."""
    word = "admitted" if kept.record.verdict == "admitted" else kept.record.reason.word
    name, expect = how.get("name", kept.id), how.get("expect", word)
    if state_dir is None:
        return {"what": "there is no folder for it", "mend": "set state_dir"}
    head = kept.head
    if not kept.is_whole or head is None:
        return {"what": "not all of this delivery was kept", "mend": "a larger keep_bytes keeps larger deliveries"}
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        return {"what": "the name is none for a file", "mend": "write small letters, digits, dots and dashes"}
    if not isinstance(expect, str) or _WORD.fullmatch(expect) is None:
        return {"what": "expect is no word", "mend": 'write "admitted", or the word of a reason'}
    path = f"{state_dir}/{FOLDER}/{name}.http"
    raw = kept.raw
    if head.framing is Framing.CHUNKED:
        # A file has no chunks: its body is what the checks are asked of.
        raw = re.sub(rb"(?im)^transfer-encoding:.*\r\n", b"Content-Length: %d\r\n" % len(kept.content), raw)
    try:
        make_folder(f"{state_dir}/{FOLDER}")
        write_private(path, raw + kept.content)
    except OSError as error:
        return {"what": f"{path} cannot be written: {error.strerror}", "mend": "let the user of hookward write there"}
    at, written = utc_text(int(kept.record.started)), path.replace("\\", "\\\\").replace('"', '\\"')
    return {"file": path, "stanza": f'[[test]]\nfile = "{written}"\nexpect = "{expect}"\nat = {at}\n'}
