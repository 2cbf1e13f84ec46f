"""The Lambda authorizers of the REST API: an ``fs_`` key in, a policy and the customer out.

There are two, with this one handler. Our own routes have one of type ``REQUEST``, whose results
are kept by the header ``X-API-Key``; those below ``/v1`` have one of type ``TOKEN``, kept by the
header ``Authorization``. Each looks at nothing but the header that its results are kept by, so a
request that carries two keys can never be given, or leave behind, the identity of the other one.
Where that header itself comes twice, nobody says which of the two the result would be kept by: such
a request is nobody's.

API Gateway keeps the result for the authorizer's time to live, for all routes; the policy
therefore covers the whole stage. See "Use API Gateway Lambda authorizers" in the API Gateway
Developer Guide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger

from flowstack_core.domain.own_limits import SessionCaps, cap_facts
from flowstack_core.http.resolver import HttpFunction
from flowstack_core.services.authorization import AuthorizationService, KeyHolder

logger = Logger()

KEY_HEADER = "x-api-key"


def authorizer(service: Callable[[], AuthorizationService]) -> HttpFunction:
    """Return the Lambda handler. A store that cannot be read lets nobody in: it raises."""

    @logger.inject_lambda_context(clear_state=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001
        found = service().authorize(_key(event))
        if found is None:
            logger.info("key refused")
            return _policy("anonymous", "Deny", event["methodArn"], {})
        logger.info("key accepted", extra={"key_id": found.record.key_id})
        return _policy(found.record.customer_id, "Allow", event["methodArn"], _context(found))

    return handler


def _key(event: dict[str, Any]) -> str:
    """Return the key's text, from the one place that the result is kept by."""
    if event["type"] == "TOKEN":
        return _bearer(event["authorizationToken"])
    # Header names come in whatever case the client wrote them, and each as often as it was sent.
    found = [
        value
        for name, values in (event.get("multiValueHeaders") or {}).items()
        if name.lower() == KEY_HEADER
        for value in values
    ]
    return str(found[0]) if len(found) == 1 else ""


def _bearer(authorization: str) -> str:
    """Return the token of ``Authorization: Bearer …`` (RFC 6750)."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _context(holder: KeyHolder) -> dict[str, str]:
    """Return what the functions are told."""
    return {
        "customer_id": holder.record.customer_id,
        "key_id": holder.record.key_id,
        "tier": holder.tier.value,
        **told_caps(holder.caps),
    }


def told_caps(caps: SessionCaps) -> dict[str, str]:
    """Return caps as API Gateway passes them on; one that is not set is not there."""
    return {name: str(cap) for name, cap in cap_facts(caps).items() if cap is not None}


def _policy(
    principal: str, effect: str, method_arn: str, context: dict[str, str]
) -> dict[str, Any]:
    api, stage = method_arn.split("/")[:2]
    return {
        "principalId": principal,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": effect,
                    "Resource": f"{api}/{stage}/*",
                }
            ],
        },
        "context": context,
    }
