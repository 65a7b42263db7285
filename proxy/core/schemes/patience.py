"""How long providers wait for an answer before they hang up and, most of them, send again. In seconds.

Read in the providers' documents where they say it, else what their operators report; who is not listed has the default
of ``Provider.answer_s``. The Standard Webhooks family waits as long as that specification asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.schemes import standard

ANSWER_S: Mapping[str, float] = MappingProxyType(
    {
        **{provider.slug: 15.0 for provider in standard.PROVIDERS},
        "box": 30.0,
        "docusign": 100.0,
        "facebook_graph_api": 20.0,
        "facebook_messenger": 20.0,
        "hubspot_v1": 5.0,
        "hubspot_v2": 5.0,
        "hubspot_v3": 5.0,
        "instagram": 20.0,
        "linear": 5.0,
        "pagerduty": 16.0,
        "shopify": 5.0,
        "shopify_events": 5.0,
        "slack": 3.0,
        "sns": 15.0,
        "stripe": 20.0,
        "twilio": 15.0,
        "twilio_sha256": 15.0,
        "whatsapp": 20.0,
        "xero": 5.0,
        "zoom": 3.0,
    }
)
