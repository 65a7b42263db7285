"""New copies of published sets into a policy that is in force, without loading anything else again.

A feed that has changed must not apply an edit of the configuration that nobody has asked to be applied, nor read a
secret again. So only the address lists that have published sets in them are made anew; all else is the same object.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.config.admission import admission_of, admitted_by, reserved_for
from proxy.config.settings import ListUse, Loaded
from proxy.core.addresses import AddressSet


def with_current_sets(loaded: Loaded, generation: int) -> Loaded:
    """``loaded`` with every published set as it is now, as the given generation. ValueError where one is unusable."""
    uses = tuple(_renew(loaded, use) for use in loaded.sets.lists)
    # By identity: the lists of a load are shared by the routes that have none of their own.
    renewed = {id(old.value): new.value for old, new in zip(loaded.sets.lists, uses, strict=True)}

    def current(allow: AddressSet | None) -> AddressSet | None:
        return renewed.get(id(allow), allow)

    def denied(lists: tuple[AddressSet, ...]) -> tuple[AddressSet, ...]:
        return tuple(renewed.get(id(one), one) for one in lists)

    policy = loaded.policy
    routes = tuple(replace(route, allow=current(route.allow), deny=denied(route.deny)) for route in policy.routes)
    trusted = renewed.get(id(policy.trusted_proxies), policy.trusted_proxies)
    admitted = admitted_by(policy.exposure, routes)
    doors = tuple(map(current, policy.doors))
    forwards = loaded.settings.tcp
    tcp = tuple(replace(one, allow=current(one.allow), deny=denied(one.deny)) for one in forwards)
    return replace(
        loaded,
        policy=replace(
            policy,
            generation=generation,
            routes=routes,
            admission=admission_of(admitted, trusted, doors),
            allow=admitted,
            trusted_proxies=trusted,
            reserved_for=reserved_for(admitted, routes, trusted, doors),
            doors=doors,
        ),
        settings=replace(loaded.settings, tcp=tcp),
        sets=replace(loaded.sets, lists=uses),
    )


def _renew(loaded: Loaded, use: ListUse) -> ListUse:
    return replace(use, value=use.unite([loaded.sets.resolve(name, query) for name, query in use.sets]))
