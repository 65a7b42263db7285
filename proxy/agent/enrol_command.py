"""``enrol``: on a relay, open a one-time code by which an agent joins it. The code is the last line of the output."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence

from proxy.agent.keys import CODE_S, SECRET_BYTES, JoinCode, join_key, offer_code
from proxy.config.commandline import ExitCode
from proxy.config.given_flags import parse_flags
from proxy.config.host import environment
from proxy.config.load import load_namespace
from proxy.config.parsers import Parser
from proxy.config.problems import suggestion
from proxy.config.settings import Settings
from proxy.errors import ConfigError, FlagError
from proxy.net.clock import Clock
from proxy.net.tls import LoadedPair, load_certificates

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?")
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
    """The parser of the command."""
    parser = Parser(prog="hookward enrol", description="Open a one-time code by which an agent joins this relay.")
    add = parser.add_argument
    add("name", metavar="NAME", help="the agent, as in [agent.NAME] of the configuration")
    add("-c", "--config", metavar="PATH", help="the TOML file of the relay [HOOKWARD_CONFIG]")
    add("--relay", metavar="HOST:PORT", help="where the agent reaches this relay; left out, what the certificate says")
    return parser


def read_relay(text: str, flag: str) -> str:
    """``host:port`` of what was typed; without a port, that of HTTPS. FlagError where it is no address."""
    found = _ADDRESS.fullmatch(text.strip())
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
