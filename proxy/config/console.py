"""The console's table: what it keeps, where it is served, and who is let in.

What is not for this host alone needs TLS and a token: whoever reaches the page sees what was delivered, and can have it
delivered again.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.config.endpoints import ListenAddress
from proxy.config.secret_files import read_reference
from proxy.config.settings import ConsoleSettings
from proxy.config.tree import Table
from proxy.errors import Mistake

#: A token that can be guessed opens everything.
MIN_TOKEN_BYTES = 16


def read_console(top: Table, environ: Mapping[str, str]) -> ConsoleSettings | None:
    """The console that a configuration asks for; None where it asks for none. Problems go to the table."""
    if "console" not in top:
        return None
    view = top.table("console")
    listen = view.need("listen", ListenAddress)
    read_token, act_token = (_token(view, name, environ) for name in ("read_token", "act_token"))
    if read_token is not None and read_token == act_token:
        view.wrong("act_token", "is the same as read_token: a program that may read could act", "make one for each")
    if not listen.is_local and not view.doubtful("listen"):
        _check_exposed(top, view, listen)
    return ConsoleSettings(
        listen=listen,
        keep=view.need("keep", int),
        keep_bytes=view.need("keep_bytes", int),
        store=(view.file("store") if view.get("store", str) else None),
        max_age_s=view.need("max_age", float),
        read_token=read_token,
        act_token=act_token,
    )


def _check_exposed(top: Table, view: Table, listen: ListenAddress) -> None:
    if "tls" not in top and not top.doubtful("tls"):
        what = f"other hosts can reach {listen}, and what is shown there goes over the network as it is"
        view.wrong("listen", what, 'add [tls] with `cert` and `key`, or write listen = "127.0.0.1:4041"')
    if "read_token" not in view and "act_token" not in view:
        what = f"other hosts can reach {listen}, and no token guards it"
        mend = 'add act_token = "file:/etc/hookward/console.token" (or read_token), or write listen = "127.0.0.1:4041"'
        view.wrong("listen", what, mend)


def _token(view: Table, name: str, environ: Mapping[str, str]) -> bytes | None:
    entry = view.entry(name)
    if entry is None:
        return None
    try:
        found = read_reference(str(entry.value), entry.base, environ)
    except Mistake as mistake:
        view.wrong(name, mistake.what, mistake.mend)
        return None
    for note in found.notes:
        view.warn(note.rule, name, str(note))
    if len(found.value) < MIN_TOKEN_BYTES:
        view.wrong(name, "is too short to be safe", "make one with `hookward gen-secret`, or `openssl rand -hex 32`")
        return None
    return found.value
