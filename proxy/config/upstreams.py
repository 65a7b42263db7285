"""An upstream as people write it: a URL, or a table with a URL and how often and whether it is chosen.

    upstream = ["http://10.0.0.1:8000", { url = "http://10.0.0.2:8000", weight = 2 }]

An entry of the list is one value with one place, so its table is read here as a whole. The keys are the schema's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from proxy.config import kinds
from proxy.config.endpoints import Upstream, UpstreamAddress
from proxy.config.kinds import Kind, read_within
from proxy.config.problems import Mistake, suggestion

FORM = 'write "http://127.0.0.1:8000" or { url = "http://127.0.0.1:8000", weight = 2 }'
HEALTH_FORM = 'write "/healthz" or { path = "/healthz", interval = "5s" }'

T = TypeVar("T")


class KeyLike(Protocol):
    """A key, as the schema describes it."""

    @property
    def name(self) -> str:
        """How it is written."""

    @property
    def kind(self) -> Kind:
        """What its value may be."""

    @property
    def default(self) -> object:
        """What it is where nothing is written."""

    @property
    def minimum(self) -> object:
        """The least it may be."""

    @property
    def maximum(self) -> object:
        """The most it may be."""


def upstream_kind(keys: Sequence[KeyLike]) -> Kind:
    """The kind of an entry whose table has ``keys``."""

    def read(value: object) -> object:
        if not isinstance(value, Mapping):
            value = {"url": value}
        table = _Table(value, keys, FORM)
        if "url" not in value:
            raise Mistake("does not say where it is", FORM)
        health = table.get("health", _Table)
        return Upstream(
            address=table.need("url", UpstreamAddress),
            weight=table.need("weight", int),
            drain=table.need("drain", bool),
            send_proxy=table.get("send_proxy", bool),
            health_path="" if health is None else health.need("path", bytes).decode("ascii"),
            health_interval_s=0.0 if health is None else health.need("interval", float),
            health_timeout_s=0.0 if health is None else health.need("timeout", float),
        )

    return Kind("upstream", FORM, read)


def health_kind(keys: Sequence[KeyLike]) -> Kind:
    """The kind of an entry's ``health``, whose table has ``keys``."""
    return Kind("path or table", HEALTH_FORM, _table_reader(keys))


def _table_reader(keys: Sequence[KeyLike]) -> Callable[[object], object]:
    def read(value: object) -> object:
        table = _Table(value if isinstance(value, Mapping) else {"path": value}, keys, HEALTH_FORM)
        table.need("path", bytes)
        return table

    return read


HEALTH_PATH = kinds.ROUTE_PATH


class _Table:
    """The values of one table, all of them read."""

    def __init__(self, written: Mapping[str, object], keys: Sequence[KeyLike], form: str) -> None:
        known = [key.name for key in keys]
        for name in written:
            if name not in known:
                raise Mistake(f"{str(name)[:40]!r} is no key of it", suggestion(str(name)[:40], known))
        self._values = {}
        for key in keys:
            if key.name in written:
                self._values[key.name] = self._read(key, written[key.name])
            elif key.default is not None:
                self._values[key.name] = key.kind.read(key.default)
        self._form = form

    @staticmethod
    def _read(key: KeyLike, value: object) -> object:
        try:
            return read_within(key.kind, value, key.minimum, key.maximum)
        except Mistake as mistake:
            raise Mistake(f"{key.name}: {mistake.what}", mistake.mend) from None

    def get(self, name: str, kind: type[T]) -> T | None:
        """The value of a key, or None where there is none."""
        value = self._values.get(name)
        assert value is None or isinstance(value, kind), name
        return value

    def need(self, name: str, kind: type[T]) -> T:
        """As ``get``, for keys that must be there."""
        value = self.get(name, kind)
        if value is None:
            raise Mistake(f"`{name}` is missing", self._form)
        return value
