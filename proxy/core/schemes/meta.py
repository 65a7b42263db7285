"""The products of Meta: one app secret signs the raw body, in hex, and one endpoint check is made of all of them."""

from __future__ import annotations

from functools import partial

from proxy.core.schemes.handshake import Handshake
from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme

#: The app secret also signs what the browser of each user holds (``signed_request``, the cookie ``fbsr_``).
_META = Scheme((b"x-hub-signature-256",), prefix=b"sha256=", opening=b"{")
_META_DOCS = "https://developers.facebook.com/docs/graph-api/webhooks/getting-started"
_META_NOTE = "The key is the app secret; the body is signed as sent, with its \\u escapes."

_META_CHECK = Handshake(query="hub.challenge", fixed=(("hub.mode", "subscribe"),), verify="hub.verify_token")

_meta = partial(Provider, docs=_META_DOCS, scheme=_META, note=_META_NOTE, handshake=_META_CHECK, answer_s=20.0)

PROVIDERS = (
    _meta("facebook_graph_api", "Facebook Graph API", event_place="entry[].changes[].field"),
    _meta("facebook_messenger", "Facebook Messenger"),
    _meta("instagram", "Instagram"),
    _meta("whatsapp", "WhatsApp", event_place="entry[].changes[].field"),
)
