"""What becomes of a provider's endpoint check on a route: forwarded, answered here, or refused like any request."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.tree import Table
from proxy.core.schemes import Provider
from proxy.core.schemes.handshake import Form


def read_handshake(view: Table, provider: Provider | None) -> str:
    """What becomes of endpoint checks on a route; what contradicts its provider is a problem."""
    handshake = view.need("handshake", str)
    if handshake == "answer" and provider is None and "provider" not in view:
        view.wrong("handshake", "only a provider's endpoint check can be answered", "name `provider`")
    if provider is not None:
        _check(view, provider, handshake)
    return handshake


def _check(view: Table, provider: Provider, handshake: str) -> None:
    check = provider.handshake
    if "verify_token" in view and (check is None or not check.needs_token):
        view.warn("", "verify_token", f"{provider.title} has no endpoint check with a token")
    if handshake == "answer":
        for what, mend in _answer_problems(view, provider):
            view.wrong("handshake", what, mend)
    if handshake == "forward" and view.need("path", bytes) == b"/" and _is_unproved(view, provider):
        view.warn(
            "",
            "",
            f"the endpoint check of {provider.title} is not signed, so it is passed on at the "
            "route's own path alone, which is /: set `path` to that of the webhook",
        )


def _is_unproved(view: Table, provider: Provider) -> bool:
    """Whether the provider signs, but neither signs its endpoint check nor shows a token with it."""
    check = provider.handshake
    if check is None or check.signed or provider.scheme is None:
        return False
    return not (check.verify and "verify_token" in view)


def _answer_problems(view: Table, provider: Provider) -> Iterator[tuple[str, str]]:
    """Why the endpoint check of ``provider`` cannot be answered here: (what, mend)."""
    check = provider.handshake
    if check is None:
        yield f"{provider.title} has no endpoint check to answer", "leave `handshake` out"
    elif check.form is Form.NONE:
        what = f"only the application can answer the endpoint check of {provider.title}: {check.reason}"
        yield what, 'write handshake = "forward"'
    elif check.needs_token and "verify_token" not in view and not view.doubtful("verify_token"):
        what = f"the endpoint check of {provider.title} needs the token that is configured there"
        yield what, 'add verify_token = "file:/path" (flag: --verify-token-file PATH)'
    elif check.needs_url and "public_url" not in view and not view.doubtful("public_url"):
        what = f"the answer to the endpoint check of {provider.title} is made with the endpoint's URL"
        yield what, 'add public_url = "https://hooks.example.com", as it is configured there (flag: --public-url URL)'
