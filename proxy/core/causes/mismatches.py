"""The causes of a signature that does not match: the secret, the body, the URL, and what can only be guessed.

Data: each row has a word, what is the case, how to mend it, and the function that looks for it. Order matters within a
group: what is surer, or more common, stands first.
"""

from __future__ import annotations

from proxy.core.causes import of_body, of_secret, of_sender, of_signature, of_url
from proxy.core.causes.trial import Hypothesis
from proxy.reasons import Reason

_MISMATCH = frozenset({Reason.SIGNATURE_MISMATCH})

OF_SECRETS: tuple[Hypothesis, ...] = (
    Hypothesis(
        "secret_out_of_dates",
        "The secret {secret} made this signature, and its {when}.",
        "Mend its dates, or set the current secret at the provider.",
        _MISMATCH,
        of_secret.out_of_dates,
    ),
    Hypothesis(
        "secret_blank_here",
        "Our secret {secret} begins or ends with a blank, a newline or a byte order mark, which the sender's has not.",
        "Write the file again without it: printf %s instead of echo.",
        _MISMATCH,
        of_secret.blanks_here,
    ),
    Hypothesis(
        "secret_blank_there",
        "The sender's secret is {secret} with a newline or a blank at an end.",
        "Enter it at the provider again without it; a file that was made with echo has one.",
        _MISMATCH,
        of_secret.blanks_there,
    ),
    Hypothesis(
        "secret_quoted",
        "The secret {secret} has quotation marks around it at one side, and they are taken as part of it.",
        "Write both from the same copy, without anything around it, and reload.",
        _MISMATCH,
        of_secret.quoted,
    ),
    Hypothesis(
        "secret_several_lines",
        "The file of {secret} holds more than the secret: one of its lines, or what follows a '=', is the secret.",
        "Name a file that holds the secret alone.",
        _MISMATCH,
        of_secret.several_lines,
    ),
    Hypothesis(
        "secret_prefix",
        'The two sides disagree whether "whsec_" is part of the secret {secret}.',
        "Copy it from the provider again, with everything it shows.",
        _MISMATCH,
        of_secret.prefix_here,
    ),
    Hypothesis(
        "secret_not_decoded_there",
        "We decode the secret {secret}, and the sender uses its text as the key.",
        "If it is a sender of your own, decode the secret there; else name the provider that fits: see `hookward "
        "providers`.",
        _MISMATCH,
        of_secret.taken_as_text,
    ),
    Hypothesis(
        "secret_decoded_there",
        "We use the text of the secret {secret} as the key, and the sender decodes it from hex or base64 first.",
        'If it is a sender of your own, use the text there; in [scheme.NAME] set secret_encoding = "hex" or "base64".',
        _MISMATCH,
        of_secret.decoded_there,
    ),
    Hypothesis(
        "secret_of_another_guard",
        "The secret {secret} of the route {other} made this signature.",
        "Two secrets are mixed up: name the right file in each route, or correct the path at the provider.",
        _MISMATCH,
        of_secret.of_another_guard,
    ),
    Hypothesis(
        "secret_empty_there",
        "The sender signed with an empty secret.",
        "Set the secret at the sender: most often its variable is not set in the process that signs.",
        _MISMATCH,
        of_secret.empty_there,
    ),
)

OF_BODIES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "body_line_end",
        "The body was signed with {secret}, but for a newline or blanks at its end.",
        "Sign exactly the bytes that are sent: printf %s instead of echo, curl --data-binary instead of -d.",
        _MISMATCH,
        of_body.line_end,
    ),
    Hypothesis(
        "body_line_ends",
        "The body was signed with {secret}, with other line ends (CRLF for LF, or the other way round).",
        "Send the file as it is: curl --data-binary, no text mode, and nothing in front that rewrites line ends.",
        _MISMATCH,
        of_body.line_ends,
    ),
    Hypothesis(
        "body_reencoded",
        "The body was signed with {secret} before it was parsed and written again as JSON.",
        "Sign and send the same bytes: serialise once; let no proxy or gateway in front transform the body.",
        _MISMATCH,
        of_body.reencoded,
    ),
    Hypothesis(
        "body_compressed",
        "The body came compressed and was signed with {secret} before it was compressed.",
        "Send it as it was signed: turn off compression of requests at the sender or in front.",
        _MISMATCH,
        of_body.compressed,
    ),
    Hypothesis(
        "body_form_field",
        "The JSON was signed with {secret}, and travels in another wrapping: a form's payload= on one side only.",
        "Choose application/json as the content type at the provider, or sign the form as it is sent.",
        _MISMATCH,
        of_body.form_field,
    ),
    Hypothesis(
        "body_charset",
        "The body was signed with {secret} in another character set, or with a byte order mark.",
        "Send UTF-8 without a byte order mark, and let nothing in front convert it.",
        _MISMATCH,
        of_body.charset,
    ),
    Hypothesis(
        "body_base64",
        "The body was signed with {secret} and is in base64 on one side only.",
        "A gateway in front encodes bodies: let it pass this content type as it is.",
        _MISMATCH,
        of_body.in_base64,
    ),
    Hypothesis(
        "body_left_out",
        "The signature was made with {secret} over an empty body.",
        "Sign the body that is sent: the sender computes the signature before it has the body.",
        _MISMATCH,
        of_body.signed_without_body,
    ),
)

OF_URLS: tuple[Hypothesis, ...] = (
    Hypothesis(
        "url_scheme",
        "The signature with {secret} is right for http:// where public_url says https://, or the other way round.",
        "Write the URL in public_url exactly as it is configured at the provider.",
        _MISMATCH,
        of_url.scheme,
    ),
    Hypothesis(
        "url_host",
        "The signature with {secret} is right for another host or port than that of public_url.",
        "Write the URL in public_url exactly as it is configured at the provider.",
        _MISMATCH,
        of_url.host,
    ),
    Hypothesis(
        "url_query",
        "The signature with {secret} is right for another query than the one that came.",
        "A proxy in front adds, drops, sorts or decodes the query: let it pass as it is. A whole public_url has the "
        "query of the request.",
        _MISMATCH,
        of_url.query,
    ),
    Hypothesis(
        "url_path",
        "The signature with {secret} is right for another path than the one that came.",
        "A proxy in front takes away or adds a part of the path, or its last slash: let it pass as it is. A whole "
        "public_url has the path of the request.",
        _MISMATCH,
        of_url.path,
    ),
)

OF_TOPICS: tuple[Hypothesis, ...] = (
    Hypothesis(
        "topic_other",
        "The signature with {secret} is right, and the message is of a topic that `topics` does not list.",
        "Add the topic's ARN to `topics` if it is yours: the same key signs for everybody else's.",
        _MISMATCH,
        of_body.of_another_topic,
    ),
)

#: The secret is right, and what was signed is not: surer than a guess, and rarer than the rest.
OTHER_SCHEMES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "other_scheme",
        "The signature was made with {secret}, as {other} does it.",
        'Write provider = "{slug}".',
        _MISMATCH,
        of_sender.fits_as_other,
    ),
    Hypothesis(
        "signed_text",
        "The signature was made with {secret} over {text}, and the scheme signs {signed}.",
        "Sign what the scheme says; for a sender of your own, set `signed` in [scheme.NAME].",
        _MISMATCH,
        of_signature.other_text,
    ),
)

GUESSES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "secret_is_api_key",
        "Our secret {secret} looks like {what}, which signs nothing.",
        "Copy the signing secret from the page of the webhook at the provider; if the key was sent around, change it.",
        _MISMATCH,
        of_secret.not_a_signing_secret,
    ),
    Hypothesis(
        "body_empty",
        "The request came without a body, and something was signed.",
        "Look for a redirect or a proxy in front that turns the request into one without content.",
        _MISMATCH,
        of_body.empty,
    ),
    Hypothesis(
        "body_not_held",
        "The body is not here as a whole: it was longer than what is kept, or it was refused before it came.",
        "Save a delivery at the sender and ask `hookward explain FILE`; compare the secret first.",
        _MISMATCH,
        of_body.not_here,
    ),
)
