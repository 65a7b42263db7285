"""The files of an agent's identity: at the relay its key, and for minutes what a one-time code is checked by; at the
agent what it has joined. And ``enrol``, which opens a code on the relay.

A relay reads a key when an agent says hello, and looks at the file now and then: where it is gone or another one, the
agent's connections end. Only the file counts, so removing it revokes the agent. A one-time code is used up by the one
process that removes its file; all workers, of however many processes, see the same file.

The one-time code that ``hookward enrol`` prints as the last line of its output, and ``hookward agent --join`` takes,
carries the agent's name, the secret of the hello, the SHA-256 of the relay's certificate, and the relay's address where
that is known. A checksum finds what was cut off in copying, before anything is dialled. The secret's 128 bits are
random, so a code cannot be guessed, however often that is tried; it is good for minutes and once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, field
from typing import TYPE_CHECKING

from proxy.agent.talk import KEY_BYTES, TalkError, from_text, to_text
from proxy.config.guarded_files import make_folder, reach, replace_file
from proxy.config.host import ExitCode, environment
from proxy.config.load import load_namespace, parse_flags
from proxy.config.problems import suggestion
from proxy.config.secret_files import kept_mode, read_bounded, user_name
from proxy.config.settings import AgentRule, Settings
from proxy.errors import ConfigError, FlagError, Mistake
from proxy.net.clock import Clock
from proxy.net.tls import LoadedPair, load_certificates
from proxy.values import frozen

if TYPE_CHECKING:
    from proxy.config.parsers import Parser

#: Beside the key's file, while a code is open.
JOIN_SUFFIX = ".join"
#: A code is good for so long.
CODE_S = 900.0
STATE_FILE = "agent.json"
_MAX_BYTES = 64 * 1024

_Stamp = tuple[int, int, int] | None


class KeyShelf:
    """The keys of a relay's agents, as their files have them now. ``wall`` gives seconds since the epoch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._rules: Mapping[str, AgentRule] = {}
        self._read: dict[str, tuple[_Stamp, bytes | None]] = {}

    def use(self, rules: Mapping[str, AgentRule]) -> None:
        """These are the agents from now on."""
        self._rules = rules
        self._read.clear()

    def key(self, name: str) -> bytes | None:
        """The key of an agent; None where it has none, or a file that is no key."""
        rule = self._rules.get(name)
        if rule is None:
            return None
        if not rule.key_path:
            return _parsed(rule.key)
        stamp = _stamp(rule.key_path)
        known = self._read.get(name)
        if known is None or known[0] != stamp:
            known = self._read[name] = (stamp, _parsed(_read(rule.key_path)))
        return known[1]

    def open_code(self, name: str) -> bytes | None:
        """The key of the hello that the open one-time code makes; None where there is none, or its time is over."""
        rule = self._rules.get(name)
        if rule is None or not rule.key_path:
            return None
        try:
            found = json.loads(_read(rule.key_path + JOIN_SUFFIX))
            key, until = from_text(str(found["key"]), KEY_BYTES), float(found["until"])
        except (ValueError, TypeError, KeyError, TalkError):
            return None
        return key if self._wall() < until else None

    def join(self, name: str, key: bytes) -> str:
        """Use the code up and keep ``key`` for the agent. A word says why not; "" where it is done."""
        path = self._rules[name].key_path
        try:
            with reach(path + JOIN_SUFFIX, to_link=True) as spot:
                spot.unlink()  # it is one of two that succeeds, whatever else is asked
        except OSError:
            return "code_used"
        try:
            replace_file(path, to_text(key).encode("ascii") + b"\n", self._wall())
        except OSError:
            return "key_not_kept"
        self._read.pop(name, None)
        return ""


def offer_code(path: str, key: bytes, until: float, now: float) -> None:
    """Open a one-time code for the agent whose key is at ``path``. Raises OSError."""
    make_folder(os.path.dirname(path) or ".")  # noqa: PTH120 - text in, text out
    text = json.dumps({"key": to_text(key), "until": until}) + "\n"
    replace_file(path + JOIN_SUFFIX, text.encode("ascii"), now)


def _read(path: str) -> bytes:
    """What a file has, which is at most a little longer than ``_MAX_BYTES``; b"" where it cannot be read."""
    with suppress(OSError):
        return read_bounded(path, _MAX_BYTES)[0]
    return b""


def _parsed(text: bytes) -> bytes | None:
    try:
        return from_text(text.decode("ascii").strip(), KEY_BYTES)
    except (ValueError, TalkError):
        return None


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 - text in
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@frozen
class Membership:
    """What an agent knows of a relay that it has joined: certificates (SHA-256), and ``mark``, which tells its code."""

    relay: str  # host:port
    name: str
    key: bytes = field(repr=False)
    certificates: tuple[str, ...]
    mark: str = ""


class MembershipFile:
    """The file of an agent's memberships. ConfigError where it cannot be read or others may, OSError from writing."""

    def __init__(self, state_dir: str) -> None:
        self._folder = state_dir
        self._path = f"{state_dir}/{STATE_FILE}"
        self.found: dict[str, Membership] = self._load()

    def keep(self, one: Membership, now: float) -> None:
        """Write it down, in the place of what was known of that relay."""
        self.found[one.relay] = one
        make_folder(self._folder)
        written = [asdict(each) | {"key": to_text(each.key)} for each in self.found.values()]
        replace_file(self._path, json.dumps(written).encode("ascii"), now)

    def of(self, relay: str) -> Membership | None:
        """That of a relay; else the only one there is, for relays that share an agent's key."""
        found = self.found.get(relay)
        if found is None and len(self.found) == 1:
            found = next(iter(self.found.values()))
        return found

    def _load(self) -> dict[str, Membership]:
        try:
            text, _ = read_bounded(self._path, _MAX_BYTES)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._wrong(f"this cannot be read: {error.strerror}", self._mend_of(error)) from None
        if mode := kept_mode(self._path):
            raise self._wrong("other users may read the key of this agent", f"chmod {mode} {shlex.quote(self._path)}")
        try:
            members = [_of_json(each) for each in json.loads(text)]
        except (ValueError, TypeError, KeyError, TalkError):
            mend = f"rm {shlex.quote(self._path)}, and join again with a new code"
            raise self._wrong("this is not what an agent has written", mend) from None
        return {one.relay: one for one in members}

    def _wrong(self, what: str, mend: str) -> ConfigError:
        return ConfigError.of(self._path, what, mend)

    def _mend_of(self, error: OSError) -> str:
        path, folder = shlex.quote(self._path), shlex.quote(self._folder)
        if isinstance(error, PermissionError):
            return f"let {user_name(os.geteuid())} read it, as root: chown {os.geteuid()} {folder} {path}"
        return f"mv {path} {path}.old, and join again with a new code"


def _of_json(each: Mapping[str, object]) -> Membership:
    certificates = each["certificates"]
    if not isinstance(certificates, list):
        raise TypeError
    key = from_text(str(each["key"]), KEY_BYTES)
    return Membership(str(each["relay"]), str(each["name"]), key, tuple(map(str, certificates)), str(each["mark"]))


PREFIX = "hw1-"
SECRET_BYTES = 16
MAX_CODE = 600
_CHECK_BYTES = 4
_HASH_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):[0-9]{1,5}")
_MEND = "copy the whole last line of `hookward enrol NAME`"


@frozen
class JoinCode:
    """What a code says. ``address`` is ``host:port``, or "" where the relay does not know its own."""

    name: str
    secret: bytes = field(repr=False)
    certificate: bytes
    address: str = ""

    def write(self) -> str:
        """The code."""
        body = self.secret + self.certificate + f"{self.name} {self.address}".encode("ascii")
        text = base64.urlsafe_b64encode(_check(body) + body).rstrip(b"=").decode("ascii")
        return PREFIX + text

    def key(self) -> bytes:
        """The key of the hello."""
        return join_key(self.secret, self.name)

    def mark(self) -> str:
        """What tells this code from others and says nothing of its secret."""
        return hashlib.sha256(b"hookward-agent/1 mark" + self.secret).hexdigest()[:32]


def join_key(secret: bytes, name: str) -> bytes:
    """The key of the hello that a code's secret makes."""
    return hmac.digest(secret, b"hookward-agent/1 join " + name.encode("ascii"), hashlib.sha256)


def read_code(text: str) -> JoinCode:
    """What a code says; Mistake where it is none. The code is not repeated: it is a secret."""
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > MAX_CODE:
        raise Mistake("this is not the code of an enrolment", _MEND)
    text = text.removeprefix(PREFIX)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Mistake("the code has a character that no code has", _MEND) from None
    check, body = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if not hmac.compare_digest(check, _check(body)):
        raise Mistake("the code is not whole, or has a character changed", _MEND)
    secret, certificate = body[:SECRET_BYTES], body[SECRET_BYTES : SECRET_BYTES + _HASH_BYTES]
    name, blank, address = body[SECRET_BYTES + _HASH_BYTES :].decode("latin-1").partition(" ")
    if not blank or not _NAME.fullmatch(name) or (address and not _ADDRESS.fullmatch(address)):
        raise Mistake("the code is of another version", "use the same version of hookward at both ends")
    return JoinCode(name, secret, certificate, address)


def _check(body: bytes) -> bytes:
    return hashlib.sha256(b"hookward-agent/1 code" + body).digest()[:_CHECK_BYTES]


_GIVEN_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?")
HTTPS_PORT = 443


def main(argv: Sequence[str]) -> int:
    """Open a code and print it. Raises FlagError and ConfigError."""
    own = build_parser().parse_args(argv)
    relay = "" if own.relay is None else read_relay(own.relay, "--relay")
    flags = ["--config", own.config] if own.config is not None else []
    settings = load_namespace(parse_flags(flags), environment()).settings
    rule = settings.agents.rules.get(own.name)
    if rule is None:
        what, names = f"there is no agent {own.name[:64]!r} in the configuration", settings.agents.rules
        mend = suggestion(own.name[:64], names, otherwise=f"add [agent.{own.name[:64]}] with `key` and `routes`")
        raise ConfigError.of("enrol", what, mend)
    if not rule.key_path:
        what = "the key of this agent is no file, so nothing can be written there"
        raise ConfigError.of(f"agent.{own.name}.key", what, 'write key = "file:/path"')
    contexts = load_certificates(settings)
    assert contexts is not None, "the configuration of agents asks for certificates"
    relay = relay or guess_address(settings, contexts.loaded)
    secret = secrets.token_bytes(SECRET_BYTES)
    certificate = _certificate_for(relay, contexts.loaded)
    now = Clock.wall()
    try:
        offer_code(rule.key_path, join_key(secret, own.name), now + CODE_S, now)
    except OSError as error:
        what = f"the code cannot be kept beside it: {error.strerror}"
        mend = "let the user that runs hookward write to its folder"
        raise ConfigError.of(rule.key_path, what, mend) from None
    _tell(own.name, relay, JoinCode(own.name, secret, certificate, relay).write())
    return ExitCode.OK


def build_parser() -> Parser:
    """The parser of ``enrol``."""
    from proxy.config.parsers import Parser

    parser = Parser(prog="hookward enrol", description="Open a one-time code by which an agent joins this relay.")
    add = parser.add_argument
    add("name", metavar="NAME", help="the agent, as in [agent.NAME] of the configuration")
    add("-c", "--config", metavar="PATH", help="the TOML file of the relay [HOOKWARD_CONFIG]")
    add("--relay", metavar="HOST:PORT", help="where the agent reaches this relay; left out, what the certificate says")
    return parser


def read_relay(text: str, flag: str) -> str:
    """``host:port`` of what was typed; without a port, that of HTTPS. FlagError where it is no address."""
    found = _GIVEN_ADDRESS.fullmatch(text.strip())
    port = 0 if found is None else int(found[1] or HTTPS_PORT)
    if found is None or not 0 < port < 1 << 16:
        raise FlagError.of(flag, f"{text[:80]!r} is not the address of a relay", "write HOST:PORT")
    return found[0] if found[1] else f"{found[0]}:{port}"


def guess_address(settings: Settings, pairs: Sequence[LoadedPair]) -> str:
    """Where this relay is: an address that it alone listens on, else a certificate's name with the port, else ""."""
    listens = [one for one in settings.listen if one.is_tcp and one.port]
    alone = next((str(one) for one in listens if not one.is_any), "")
    names = list(_names(pairs))
    if alone or not names:
        return alone
    name = f"[{names[0]}]" if ":" in names[0] else names[0]
    return f"{name}:{listens[0].port if listens else HTTPS_PORT}"


def _names(pairs: Sequence[LoadedPair]) -> Iterator[str]:
    for pair in pairs:
        yield from (name for name in pair.certificate.names if "*" not in name and name != "localhost")


def _certificate_for(relay: str, pairs: Sequence[LoadedPair]) -> bytes:
    """The SHA-256 of the certificate that is shown to who asks for the relay's name."""
    name = relay.rpartition(":")[0].lower()
    wild = "*." + name.partition(".")[2]
    for wanted in (name, wild):
        for pair in pairs:
            if wanted in pair.names:
                return pair.certificate.fingerprint
    return pairs[0].certificate.fingerprint


def _tell(name: str, relay: str, code: str) -> None:
    where = "" if relay else " --relay HOST:PORT"
    print(f"Agent {name} may join within {CODE_S / 60:g} minutes, once. Beside the application:")
    print()
    print(f"    hookward agent --join {code}{where} --upstream 127.0.0.1:8000")
    print()
    if relay:
        print(f"The code says that this relay is at {relay}; --relay HOST:PORT says otherwise. The code:")
    else:
        print("The code does not say where this relay is: add --relay HOST:PORT, here or there. The code:")
    print(code)
