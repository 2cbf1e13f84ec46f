"""What API Gateway itself answers, in the same envelope as every other error."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aws_cdk import aws_apigateway as apigateway

_UNAUTHORIZED = "Send a valid API key in the X-API-Key header; below /v1, in Authorization: Bearer."
_NOT_FOUND = "There is nothing at this path for this method."
_UNAVAILABLE = "The service cannot check requests at the moment. Please try again."
_RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """One kind of error that never reaches a function.

    Attributes
    ----------
    kind
        API Gateway's name of it.
    status
        HTTP status; ``None`` keeps the one that API Gateway has for the error.
    message
        The sentence for a person. It has no variables in it: a gateway response is filled in by
        plain substitution, and what a caller sent could break out of the JSON.
    retry
        Whether to send ``Retry-After``.
    """

    kind: str
    status: int | None
    code: str
    message: str
    retry: bool = False

    @property
    def template(self) -> str:
        """The body, with the one variable that is safe: callers can choose it, as a UUID only."""
        return json.dumps(
            {
                "error": self.message,
                "error_code": self.code,
                "details": {},
                "request_id": "$context.requestId",
            }
        )


ANSWERS = (
    GatewayAnswer("UNAUTHORIZED", 401, "UNAUTHORIZED", _UNAUTHORIZED),
    GatewayAnswer("ACCESS_DENIED", 401, "UNAUTHORIZED", _UNAUTHORIZED),
    GatewayAnswer("INVALID_API_KEY", 401, "UNAUTHORIZED", _UNAUTHORIZED),
    GatewayAnswer(
        "INVALID_SIGNATURE", 401, "UNAUTHORIZED", "The signature of this request is not valid."
    ),
    GatewayAnswer(
        "EXPIRED_TOKEN", 401, "UNAUTHORIZED", "The credentials of this request have expired."
    ),
    # What API Gateway calls a missing token is a path or a method it does not know.
    GatewayAnswer("MISSING_AUTHENTICATION_TOKEN", 404, "NOT_FOUND", _NOT_FOUND),
    GatewayAnswer("RESOURCE_NOT_FOUND", 404, "NOT_FOUND", _NOT_FOUND),
    GatewayAnswer(
        "BAD_REQUEST_BODY", 400, "INVALID_REQUEST", "The body of this request is not valid."
    ),
    GatewayAnswer(
        "BAD_REQUEST_PARAMETERS",
        400,
        "INVALID_REQUEST",
        "The parameters of this request are not valid.",
    ),
    GatewayAnswer(
        "REQUEST_TOO_LARGE", 413, "PAYLOAD_TOO_LARGE", "The body of this request is too large."
    ),
    GatewayAnswer(
        "UNSUPPORTED_MEDIA_TYPE", 415, "UNSUPPORTED_MEDIA_TYPE", "Send application/json."
    ),
    GatewayAnswer(
        "THROTTLED", 429, "RATE_LIMITED", "Too many requests. Please slow down.", retry=True
    ),
    GatewayAnswer(
        "QUOTA_EXCEEDED", 429, "RATE_LIMITED", "Too many requests. Please slow down.", retry=True
    ),
    # Who asks could not be established, so nothing was admitted and nothing counted.
    GatewayAnswer("AUTHORIZER_FAILURE", 503, "SERVICE_UNAVAILABLE", _UNAVAILABLE, retry=True),
    GatewayAnswer(
        "AUTHORIZER_CONFIGURATION_ERROR", 503, "SERVICE_UNAVAILABLE", _UNAVAILABLE, retry=True
    ),
    GatewayAnswer(
        "INTEGRATION_FAILURE", 502, "INTERNAL_ERROR", "The service did not answer properly."
    ),
    GatewayAnswer("INTEGRATION_TIMEOUT", 504, "TIMEOUT", "The service did not answer in time."),
    GatewayAnswer("API_CONFIGURATION_ERROR", None, "INTERNAL_ERROR", "Something went wrong."),
    GatewayAnswer("DEFAULT_4XX", None, "INVALID_REQUEST", "This request was refused."),
    GatewayAnswer("DEFAULT_5XX", None, "INTERNAL_ERROR", "Something went wrong."),
)


def add_gateway_responses(api: apigateway.RestApi) -> None:
    """Make an API answer its own errors in the envelope."""
    for answer in ANSWERS:
        api.add_gateway_response(
            _construct_id(answer.kind),
            type=apigateway.ResponseType.of(answer.kind),
            status_code=None if answer.status is None else str(answer.status),
            response_headers={"Retry-After": f"'{_RETRY_SECONDS}'"} if answer.retry else None,
            templates={"application/json": answer.template},
        )


def _construct_id(kind: str) -> str:
    return "".join(part.capitalize() for part in kind.split("_")) + "Response"
