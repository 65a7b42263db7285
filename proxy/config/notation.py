"""Sizes, times, numbers and addresses as people write them: ``25MiB``, ``512B``, ``8s``, ``500ms``, ``2 routes``,
``:443``, ``unix:/run/app.sock``, ``https://app:8443``.

Strict on purpose: ``25m`` is megabytes to one program, minutes to the next and mebibytes to a third, so it is refused
with the spelling that was probably meant. Binary units are powers of 1024 (IEC 80000-13), decimal ones of 1000. No name
is resolved here: a listener needs an address of this host, and an upstream's name is looked up when it is dialled.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from ipaddress import ip_address

from proxy.core.grammar import parse_target
from proxy.errors import Mistake, ProtocolError
from proxy.values import frozen

SIZE_FORM = 'write a size such as "25MiB", "16KiB" or "512B" (a bare number is bytes)'
TIME_FORM = 'write a time such as "8s", "500ms", "5m" or "1h"'
RATE_FORM = 'write a rate such as "20/s", "100/m" or "1000/h"'

_SIZE_UNITS = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
#: In milliseconds, so that no sum of parts is ever off by a rounding.
_TIME_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: A number of requests that is whole but for the rounding of a division.
_NEARLY = 1e-6
_RATE = re.compile(r"([0-9]{1,6}) ?/ ?([smh])")
_SIZE = re.compile(r"([0-9]{1,18}) ?([A-Za-z]{0,3})")
_TIME = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?([a-z]{1,2})")


def parse_size(value: object) -> int:
    """Bytes of ``25MiB`` or of a bare whole number. ValueError says what is wrong, never how to mend it."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a size is not negative")
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is not None and (match[2] or "B") in _SIZE_UNITS:
        return int(match[1]) * _SIZE_UNITS[match[2] or "B"]
    raise ValueError(f"{value[:40]!r} is not a size{_meant(match)}" if isinstance(value, str) else "is not a size")


def parse_time(value: object) -> float:
    """Seconds of ``8s``. A bare ``0`` needs no unit; any other bare number does. ValueError as ``parse_size``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        raise ValueError(f"{value} has no unit")
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if value == "0":
        return 0.0
    if match is not None and match[2] in _TIME_UNITS:
        return float(match[1]) * _TIME_UNITS[match[2]] / 1000
    lacking = "has no unit" if re.fullmatch(r"[0-9.]{1,12}", str(value)) else "is not a time"
    raise ValueError(f"{value[:40]!r} {lacking}" if isinstance(value, str) else "is not a time")


def parse_rate(value: object) -> float:
    """Requests per second of ``20/s``. ValueError as ``parse_size``."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        shown = repr(value[:40]) if isinstance(value, str) else "this"
        raise ValueError(f"{shown} is not a rate")
    return int(match[1]) * 1000 / _TIME_UNITS[match[2]]


def show_rate(per_s: float) -> str:
    """The shortest exact spelling of whole numbers: ``20/s``, ``100/m``."""
    for unit in ("s", "m", "h"):
        count = per_s * _TIME_UNITS[unit] / 1000
        if abs(count - round(count)) < _NEARLY and round(count):
            break
    return f"{round(count)}/{unit}"


def show_size(size: int) -> str:
    """The shortest exact spelling: ``25MiB``, ``1000B``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def show_time(seconds: float) -> str:
    """The shortest exact spelling of whole units: ``90s``, ``500ms``, ``1h``."""
    millis = round(seconds * 1000)
    for unit in ("d", "h"):
        if millis and millis % _TIME_UNITS[unit] == 0:
            return f"{millis // _TIME_UNITS[unit]}{unit}"
    return f"{millis}ms" if millis % 1000 else f"{millis // 1000}s"


def about_size(size: int) -> str:
    """About how much, for people: ``1.5MiB``."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _SIZE_UNITS[unit]:
            return f"{size / _SIZE_UNITS[unit]:.1f}{unit}"
    return f"{size}B"


def about_time(seconds: float | None) -> str:
    """About how long, for people, in the largest unit that fills: ``3h``, ``12s``; ``-`` of None."""
    if seconds is None:
        return "-"
    for unit in ("d", "h", "m", "s"):
        count = int(seconds * 1000 // _TIME_UNITS[unit])
        if count > 0:
            return f"{count}{unit}"
    return "0s"


def took(seconds: float | None) -> str:
    """How long something that was measured took: ``1.5 ms``, ``2.50 s``; ``-`` of None."""
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def count(number: int, noun: str) -> str:
    """``1 route``, ``2 routes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _meant(match: re.Match[str] | None) -> str:
    """`` (25MiB?)`` where the letter says which unit was probably meant."""
    if match is None or match[2].lower() not in {"k", "m", "g", "t", "kib", "mib", "gib", "tib", "mb", "gb", "tb"}:
        return ""
    return f" ({match[1]}{match[2][0].upper()}iB?)"


LISTEN_FORM = 'write "0.0.0.0:443", "[::]:443", ":443", "unix:/run/hookward.sock" or "fd:NAME" (socket activation)'
UPSTREAM_FORM = (
    'write "http://127.0.0.1:8000", "https://app:8443", "127.0.0.1:8000", "unix:/run/app.sock" or "agent:NAME"'
)
TCP_FORM = 'write LISTEN=UPSTREAM, such as "0.0.0.0:2222=127.0.0.1:22", or NAME=LISTEN=UPSTREAM'

NAME_FORM = "use 1 to 64 letters, digits, '.', '_' and '-'"
PATH_FORM = "use letters, digits and -._~!$&'()+,=:@ in segments that are neither empty nor '.' nor '..'"
_TCP_FORM = 'write "127.0.0.1:22" or "unix:/path"'

#: Of a route, a secret and whatever else is named in a configuration.
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?")
_ADDRESS = re.compile(r"[0-9.]+")
_PORT = re.compile(r"[0-9]{1,5}")
#: sockaddr_un.sun_path has 108 bytes on Linux, one of them for the final NUL.
MAX_SOCKET_PATH = 107


@frozen
class ListenAddress:
    """A place to listen: an address and port, a unix socket (``path``) or a passed descriptor (``fd_name``).

    ``host`` "" means every address of this host, IPv4 and IPv6; port 0 lets the kernel choose.
    """

    host: str = ""
    port: int = 0
    path: str | None = None
    fd_name: str | None = None

    @property
    def is_tcp(self) -> bool:
        """Whether it has a host and a port."""
        return self.path is None and self.fd_name is None

    @property
    def is_local(self) -> bool:
        """Whether only this host can reach it."""
        if self.path is not None:
            return True
        return self.is_tcp and self.host != "" and ip_address(self.host).is_loopback

    @property
    def is_any(self) -> bool:
        """Whether it means every address of this host."""
        return self.is_tcp and (self.host == "" or ip_address(self.host).is_unspecified)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        if self.fd_name is not None:
            return f"fd:{self.fd_name}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this host and no other."""
    with suppress(ValueError):
        return host == "localhost" or ip_address(host).is_loopback
    return False


@frozen
class UpstreamAddress:
    """A place to connect to: ``host`` and ``port``, or the ``path`` of a unix socket; ``secure`` for https."""

    host: str = ""
    port: int = 0
    path: str | None = None
    secure: bool = False
    base: bytes = b""  # the path before all paths there; no slash at its end
    agent: str = ""  # the name of an agent, which connects to us


def read_listen(value: object) -> ListenAddress:
    """A listening address; Mistake where it is none."""
    text = _text(value, LISTEN_FORM)
    if text.startswith("unix:"):
        return ListenAddress(path=_socket_path(text, LISTEN_FORM))
    if text.startswith("fd:"):
        if not NAME.fullmatch(text[3:]):
            raise Mistake(f"{text[:80]!r} names no descriptor", LISTEN_FORM)
        return ListenAddress(fd_name=text[3:])
    if "://" in text:
        raise Mistake(f"{text[:80]!r} is a URL; a listener has an address and a port", LISTEN_FORM)
    if _PORT.fullmatch(text):
        text = f":{text}"
    host, port = _host_port(text, LISTEN_FORM)
    if host in {"", "*"}:
        return ListenAddress("", port)
    if host == "localhost":
        return ListenAddress("127.0.0.1", port)
    try:
        return ListenAddress(str(ip_address(host)), port)
    except ValueError:
        raise Mistake(f"{host[:80]!r} is not an address of this host", LISTEN_FORM) from None


def read_upstream(value: object) -> UpstreamAddress:
    """An upstream, with or without ``http://`` or ``https://``; Mistake where it is none."""
    text = _text(value, UPSTREAM_FORM)
    if text.startswith("unix:"):
        socket, colon, base = text.removeprefix("unix:").partition(":/")
        return UpstreamAddress(path=_socket_path(f"unix:{socket}", UPSTREAM_FORM), base=_base(colon[1:] + base))
    if text.startswith("agent:"):
        return UpstreamAddress(agent=_agent(text.removeprefix("agent:")))
    if "://" in text:
        return _of_url(*text.split("://", 1))
    return UpstreamAddress(*_dialled(f"127.0.0.1:{text}" if _PORT.fullmatch(text) else text))


def _of_url(scheme: str, rest: str) -> UpstreamAddress:
    """``rest`` is what follows the "://"."""
    if scheme.lower() not in {"http", "https"}:
        raise Mistake(f"{scheme[:20]!r} is not a scheme that is spoken to an upstream", UPSTREAM_FORM)
    secure = scheme.lower() == "https"
    if secure:
        prepare_names()
    if "@" in rest:
        raise Mistake("a user name or password in an upstream's URL", "remove what stands before the '@'")
    authority, slash, path = rest.partition("/")
    if "?" in rest or "#" in rest:
        raise Mistake("an upstream has no query", "remove what follows the '?' or '#': the sender's query is passed on")
    has_port = re.search(r":[0-9]+$", authority) is not None
    dialled = _dialled(authority if has_port else f"{authority}:{443 if secure else 80}")
    return UpstreamAddress(*dialled, secure=secure, base=_base(slash + path))


def _agent(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Mistake(f"{name[:80]!r} names no agent", 'write "agent:ci" for the agent of [agent.ci]')
    return name


def read_tcp_upstream(value: object) -> UpstreamAddress:
    """Where plain TCP goes: ``host:port`` or ``unix:/path``; Mistake where it is something else."""
    text = _text(value, UPSTREAM_FORM)
    if "://" in text:
        raise Mistake("plain TCP is forwarded to an address, not to a URL", _TCP_FORM)
    if text.startswith("agent:"):
        raise Mistake("an agent takes deliveries, and no plain TCP", _TCP_FORM)
    address = read_upstream(text)
    if address.base:
        raise Mistake("plain TCP has no paths", "remove the path")
    return address


def read_tcp_pair(value: object) -> tuple[str | None, ListenAddress, UpstreamAddress]:
    """The name, if one is given, and both ends of ``[NAME=]LISTEN=UPSTREAM``; Mistake where it is something else."""
    parts = _text(value, TCP_FORM).split("=")
    if not 2 <= len(parts) <= 3:
        raise Mistake("does not say both where to listen and where to go", TCP_FORM)
    name = parts.pop(0) if len(parts) == 3 else None
    if name is not None and not NAME.fullmatch(name):
        raise Mistake(f"{name[:80]!r} is not a name", NAME_FORM)
    return name, read_listen(parts[0]), read_tcp_upstream(parts[1])


def _base(path: str) -> bytes:
    """The path of an upstream's URL, by whole segments: a slash at its end says nothing more."""
    text = path.rstrip("/")
    try:
        return parse_target(b"POST", text.encode("ascii"), b"localhost").path if text else b""
    except (UnicodeEncodeError, ProtocolError):
        raise Mistake(f"{path[:60]!r} is no path that requests may have", PATH_FORM) from None


def _dialled(text: str) -> tuple[str, int]:
    host, port = _host_port(text, UPSTREAM_FORM)
    if not host or port == 0:
        raise Mistake(f"{text[:80]!r} says {'no host' if not host else 'port 0'} to connect to", UPSTREAM_FORM)
    if ":" in host:
        try:
            return str(ip_address(host)), port
        except ValueError:
            raise Mistake(f"{host[:80]!r} is not an IPv6 address", UPSTREAM_FORM) from None
    if not _HOST.fullmatch(host):
        raise Mistake(f"{host[:80]!r} is not a host name", UPSTREAM_FORM)
    if not _ADDRESS.fullmatch(host):
        prepare_names()
    return host, port


def prepare_names() -> None:
    """Load what the loop and ``ssl`` encode names of hosts by: they would import it when privileges may be gone."""
    codecs.lookup("idna")


def _host_port(text: str, form: str) -> tuple[str, int]:
    """Host (without brackets) and port of ``host:port``."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or text.endswith("]"):
        raise Mistake(f"{text[:80]!r} has no port", form)
    if ":" in host and not bracketed:
        raise Mistake(f"{text[:80]!r} is an IPv6 address without brackets", 'write "[::1]:8000"')
    if not _PORT.fullmatch(port) or int(port) > 0xFFFF:
        raise Mistake(f"{port[:80]!r} is not a port", "a port is a number from 0 to 65535")
    return (host[1:-1] if bracketed else host), int(port)


def _socket_path(text: str, form: str) -> str:
    path = text.removeprefix("unix:").removeprefix("//")
    if not path.startswith("/"):
        raise Mistake(f"{text[:80]!r} is not the full path of a socket", form)
    if "\0" in path or len(path.encode("utf-8", "surrogateescape")) > MAX_SOCKET_PATH:
        raise Mistake("the path of the socket is too long", f"a unix socket's path has at most {MAX_SOCKET_PATH} bytes")
    return path


def _text(value: object, form: str) -> str:
    if not isinstance(value, str):
        raise Mistake("is not a text", form)
    if not value.isprintable():
        raise Mistake("contains a character that cannot be printed", form)
    return value.strip()
