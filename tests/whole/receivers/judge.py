"""Run by ``test_receivers.py`` with the Python of ``.venv/receivers``: what the providers' own SDKs make of deliveries.

Takes a JSON list of deliveries on standard input, each with ``provider``, ``secret``, ``url``, ``fields`` and ``body``
(in base64), and gives a list of what each SDK read out of it; "refused: ..." where it refuses it.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from urllib.parse import parse_qsl

import gidgethub.sansio
import gidgetlab.sansio
import stripe
from discord_interactions import InteractionType, verify_key
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader
from slack_bolt import App, BoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web import WebClient
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook
from twilio.request_validator import RequestValidator

Fields = dict[str, str]
JUDGES: dict[str, Callable[[dict[str, str], Fields, bytes], str]] = {}


def judges(*names):
    def add(judge):
        JUDGES.update(dict.fromkeys(names, judge))
        return judge

    return add


@judges("github")
def by_gidgethub(case, fields, body):
    event = gidgethub.sansio.Event.from_http(fields, body, secret=case["secret"])
    assert len(event.delivery_id) == 36
    return f"{event.event} {event.data['repository']['full_name']}"


@judges("gitlab")
def by_gidgetlab(case, fields, body):
    event = gidgetlab.sansio.Event.from_http(fields, body, secret=case["secret"])
    return f"{event.event} {event.data['project']['path_with_namespace']} {event.object_attributes.get('action', '')}"


@judges("stripe")
def by_stripe(case, fields, body):
    event = stripe.Webhook.construct_event(body, fields["stripe-signature"], case["secret"])
    return f"{event.type} {event.data.object.object} {event.livemode}"


@judges("slack")
def by_slack(case, fields, body):
    """A whole application of Bolt, with what it asks of a request besides the signature."""
    seen = []

    def authorize():
        return AuthorizeResult(enterprise_id=None, team_id="T0EXAMPLE", bot_user_id="U0HELLO", bot_token="xoxb-1")

    app = App(
        signing_secret=case["secret"],
        client=WebClient(token="xoxb-1"),
        authorize=authorize,
        token_verification_enabled=False,
        process_before_response=True,
    )
    app.event("app_mention")(lambda event: seen.append(f"app_mention {event['text']}"))

    @app.command("/deploy")
    def deploy(ack, command):
        ack()
        seen.append(f"/deploy {command['text']}")

    @app.action("deploy")
    def pressed(ack, action):
        ack()
        seen.append(f"deploy {action['value']}")

    answer = app.dispatch(BoltRequest(body=body.decode(), headers=fields))
    assert answer.status == 200, answer.body
    return seen[0] if seen else answer.body


@judges("twilio")
def by_twilio(case, fields, body):
    params = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
    assert RequestValidator(case["secret"]).validate(case["url"], params, fields["x-twilio-signature"])
    return f"{params['From']} {params.get('Body') or params.get('CallStatus') or params.get('MessageStatus')}"


@judges("standard_webhooks", "gitlab_signing_token")
def by_standard_webhooks(case, fields, body):
    payload = Webhook(case["secret"]).verify(body, fields)
    assert fields["webhook-id"].startswith("msg_") or payload.get("object_kind")
    return payload.get("type") or payload["object_kind"]


@judges("svix")
def by_svix(case, fields, body):
    SvixWebhook(case["secret"]).verify(body, fields)
    assert len(fields["svix-id"]) == 31
    return json.loads(body)["type"]


@judges("sendgrid")
def by_sendgrid(case, fields, body):
    hook = EventWebhook(public_key=case["public"])
    signature = fields[EventWebhookHeader.SIGNATURE.lower()]
    assert hook.verify_signature(body.decode(), signature, fields[EventWebhookHeader.TIMESTAMP.lower()])
    return " ".join(event["event"] for event in json.loads(body))


@judges("discord")
def by_discord(case, fields, body):
    signature, timestamp = fields["x-signature-ed25519"], fields["x-signature-timestamp"]
    assert verify_key(body, signature, timestamp, case["public"])
    return "ping" if json.loads(body)["type"] == InteractionType.PING else json.loads(body)["data"]["name"]


def verdict(case: dict[str, object]) -> str:
    fields = {str(name).lower(): str(value) for name, value in case["fields"]}
    try:
        return JUDGES[case["provider"]](case, fields, base64.b64decode(case["body"])).strip()
    except Exception as error:  # noqa: BLE001  each SDK has errors of its own
        return f"refused: {type(error).__name__} {error}"


if __name__ == "__main__":
    sys.stdout, out = sys.stderr, sys.stdout
    json.dump([verdict(case) for case in json.load(sys.stdin)], out)
