"""Keeps a delivery as a test: a file on the host (0600) and the ``[[test]]`` stanza that names it.

The file has the delivery as it came, with its proof: else it would be no test. So it is written where the operator's
own files are, and nothing of it goes to the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from proxy.config.guarded_files import make_folder, write_private
from proxy.console.kept import Json, KeptExchange
from proxy.http1 import Framing

FOLDER = "tests"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WORD = re.compile(r"[a-z_]{1,40}")


def keep(kept: KeptExchange, how: Mapping[str, Any], state_dir: str | None) -> Json:
    """Write the file; gives its path and the stanza, or what is wrong and how to mend it."""
    name, expect = how.get("name", kept.id), how.get("expect", _expected(kept))
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
    return {"file": path, "stanza": _stanza(path, expect, kept)}


def _expected(kept: KeptExchange) -> str:
    return "admitted" if kept.record.verdict == "admitted" else kept.record.reason.word


def _stanza(path: str, expect: str, kept: KeptExchange) -> str:
    at = datetime.fromtimestamp(int(kept.record.started), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'[[test]]\nfile = "{quoted}"\nexpect = "{expect}"\nat = {at}\n'
