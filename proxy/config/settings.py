"""What a load of the configuration gives besides the ``Policy``: the settings of the process, all of them frozen.

The policy says who is let in; the settings say where we listen, with which certificates, and how we log. Whoever reads
them here needs no default of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

from proxy.config.host import Identity, identity
from proxy.config.notation import ListenAddress
from proxy.core.addresses import AddressSet, Peer
from proxy.core.ip_sets import Shape
from proxy.core.policy import Endpoint, Policy
from proxy.errors import Path, Place
from proxy.values import frozen

#: How often a list is fetched, unless a table says otherwise. Most feeds then answer "not modified".
REFRESH_S = 3600.0


@frozen
class Feed:
    """One published list. ``url`` "" is one that no program can fetch; ``shape`` None is text, one prefix a line.

    ``refresh_s`` 0 is never. Two feeds with the same ``key`` give the same list.
    """

    name: str
    url: str
    shape: Shape | None
    path: str = ""  # as written
    refresh_s: float = REFRESH_S
    docs: str = ""
    note: str = ""
    built_in: bool = True

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it this list."""
        return self.name, self.url, self.path

    @property
    def is_refreshed(self) -> bool:
        """Whether it is fetched from time to time."""
        return bool(self.url) and self.refresh_s > 0


@frozen
class TlsFiles:
    """One certificate. ``key`` is the file of ``cert`` where both are in one; ``names`` () means those inside it."""

    cert: str
    key: str
    names: tuple[str, ...] = ()
    where: Place = Place.of("tls")  # for problems that are found when it is loaded
    client_ca: str | None = None  # clients are asked for a certificate of these authorities; the same in all
    client_required: bool = False


@frozen
class TcpSettings:
    """Plain TCP from ``listen`` to ``upstream`` (without TLS). ``allow`` None is every address; ``deny`` wins."""

    name: str
    listen: ListenAddress
    upstream: Endpoint
    allow: AddressSet | None
    deny: tuple[AddressSet, ...] = ()


@frozen
class IpSet:
    """A list of addresses at ``url`` (None: known by name), fetched each ``refresh_s``; ``json``: which part."""

    name: str
    url: str | None
    json: str | None
    refresh_s: float


@frozen
class DuplicateSettings:
    """Where deliveries are remembered; ``path`` is of "sqlite", ``url`` of "redis", and may hold a password."""

    store: str = "memory"  # or "sqlite", "redis"
    path: str | None = None
    url: str | None = field(default=None, repr=False)
    refuses: bool = False  # while the store cannot be asked; else deliveries go by this process's own memory
    max_entries: int = 100_000


@frozen
class ConsoleSettings:
    """The console; each worker keeps ``keep`` deliveries in ``keep_bytes``. ``store`` is the file that outlives it."""

    listen: ListenAddress
    keep: int
    keep_bytes: int
    store: str | None = None
    max_age_s: float = 0.0  # of what is in the file
    read_token: bytes | None = field(default=None, repr=False)
    act_token: bytes | None = field(default=None, repr=False)


@frozen
class QueueSettings:
    """Where deliveries are kept; ``path`` is the folder of "sqlite", ``url`` of "redis", and may hold a password."""

    store: str = "sqlite"  # or "redis"
    path: str | None = None
    url: str | None = field(default=None, repr=False)
    max_bytes: int = 1 << 30
    max_age_s: float = 7 * 86400.0


@frozen
class Fixture:
    """A ``[[test]]``: a saved delivery and what must come of it. ``at`` in seconds since the epoch."""

    file: str
    expect: str  # "admitted" or the word of a reason
    where: Place
    at: float | None = None
    address: str | None = None  # None: addresses are not judged


@frozen
class AgentRule:
    """What a relay knows of an agent: where its key is (a file that may come and go, or the key itself), which routes
    it serves, and from where it may connect (None: from anywhere).
    """

    name: str
    key_path: str
    key: bytes = field(repr=False)  # b"" where it is in a file
    routes: frozenset[str]
    allow: AddressSet | None = None

    def admits(self, peer: Peer) -> bool:
        """Whether it may connect from there."""
        return self.allow is None or peer in self.allow


@frozen
class AgentSettings:
    """The agents of a relay, by name; ``idle`` connections wait for deliveries at each worker, of at most ``most``."""

    rules: Mapping[str, AgentRule] = field(default_factory=dict)
    idle: int = 4
    most: int = 64


@frozen
class Dials:
    """How an agent reaches its relays. ``relays`` are ``host:port``; () are those that it has joined."""

    state_dir: str
    relays: tuple[str, ...] = ()
    join: tuple[str, ...] = field(default=(), repr=False)  # one-time codes
    proxy: str = ""  # ``host:port`` of an HTTP proxy that CONNECT is asked of
    proxy_login: bytes = field(default=b"", repr=False)  # user:password
    ca_file: str | None = None
    health: str = ""  # the application's path that says whether it is well


@frozen
class Settings:
    """How the process runs; times in seconds."""

    listen: tuple[ListenAddress, ...]
    workers: int | str  # a number, or "auto"
    admin: ListenAddress | None
    tls: tuple[TlsFiles, ...]  # the first answers for names that none has
    proxy_protocol: str  # "off" or "require"
    tcp: tuple[TcpSettings, ...]
    drain_s: float
    log_format: str  # "auto", "json", "ecs", "text" or "journald"
    log_level: str  # "debug", "info", "warning" or "error"
    access_log: str  # a path, "-" or "off"
    state_dir: str | None
    config_path: str | None
    kernel_filter: bool = False  # let the kernel drop whom no list admits, where it can
    user: str | None = None  # whom to become when everything is open; a name or a number
    group: str | None = None  # and of which group; the user's own where it is not said
    duplicates: DuplicateSettings = field(default_factory=DuplicateSettings)
    console: ConsoleSettings | None = None
    queue: QueueSettings | None = None  # None: nothing is kept
    warnings: tuple[str, ...] = ()
    silence: tuple[str, ...] = ()  # ids of rules that are not spoken of
    fixtures: tuple[Fixture, ...] = ()
    agents: AgentSettings = field(default_factory=AgentSettings)  # that connect to us
    dials: Dials | None = None  # we are an agent ourselves
    log_sample_refusals: int = 1  # one refusal in so many has a line
    log_refusals_per_address: int = 0  # refusals of one address in a minute that have a line each; 0: all
    sources: Mapping[Path, Place] = field(default_factory=dict)  # key -> where it was written
    routes_at: Mapping[str, Place] = field(default_factory=dict)  # route -> where its first key was written

    def asks_more_than(self, before: Settings) -> bool:
        """Whether more is asked of a sender's connection than by ``before``: TLS, a PROXY header, a certificate."""
        return (
            (bool(self.tls) and not before.tls)
            or (self.proxy_protocol == "require" and before.proxy_protocol != "require")
            or (self._client_authority is not None and self._client_authority != before._client_authority)
        )

    @property
    def _client_authority(self) -> str | None:
        """Whose certificate a client must have; the same for all certificates of ours."""
        return self.tls[0].client_ca if self.tls and self.tls[0].client_required else None


@frozen
class ListUse:
    """A list of addresses with published sets in it: its other entries, (name, query) of each, and what it came to."""

    fixed: AddressSet
    sets: tuple[tuple[str, str], ...]
    denies: bool = False
    value: AddressSet = field(default_factory=AddressSet.empty)

    def unite(self, published: Sequence[AddressSet | None]) -> AddressSet:
        """What it comes to with these copies of its sets, as a new object: lists are known by identity.

        One that is not here admits no address, and denies them all: what is missing must not open anything.
        """
        if self.denies and not all(published):
            return AddressSet.parse(["all"])
        return replace(AddressSet.union([self.fixed, *(one for one in published if one is not None)]))


@frozen
class SetUse:
    """What a load asked of published sets, so that new copies can be put into its policy (``config.set_shelf``)."""

    lists: tuple[ListUse, ...] = ()
    used: Mapping[tuple[str, str], Feed] = field(default_factory=dict)  # (name, query), aliases resolved
    missing: tuple[Feed, ...] = ()  # of which no copy is here: they admit nobody
    resolve: Callable[[str, str], AddressSet | None] = lambda _name, _query: None


@frozen
class Loaded:
    """One load of the configuration."""

    policy: Policy
    settings: Settings
    sets: SetUse = field(default_factory=SetUse)


def identity_of(settings: Settings) -> Identity | None:
    """The user to become; None where none is named. Raises ConfigError where there is no such user or group."""
    return None if settings.user is None and settings.group is None else identity(settings.user, settings.group)
