"""One resolver for every function that answers HTTP: validation, errors and logs the same way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from flowstack_core.domain.errors import (
    FlowStackError,
    InvalidRequestError,
    NotFoundError,
    ServiceUnavailableError,
)
from flowstack_core.http import telemetry
from flowstack_core.http.errors import envelope, error_headers, status_of
from flowstack_core.http.json_body import check_json_body
from flowstack_core.services.ports.failures import StoreContentionError

logger = Logger()

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_MAX_PROBLEMS = 10
_MAX_SHOWN = 200

HttpFunction = Callable[[dict[str, Any], Any], dict[str, Any]]
ErrorRenderer = Callable[[FlowStackError, str], Response[str]]
"""Renders an error of the request with an id, in the form that the door's clients understand."""


def enveloped(error: FlowStackError, api_request_id: str) -> Response[str]:
    """Render an error as FlowStack's own clients expect it."""
    return json_response(
        int(status_of(error)), envelope(error, api_request_id), error_headers(error)
    )


def create_app(render: ErrorRenderer = enveloped) -> APIGatewayRestResolver:
    """Return a resolver that validates requests and renders every failure the same way."""
    app = APIGatewayRestResolver(enable_validation=True, serializer=_serialize)
    for kind, translate in _TRANSLATIONS.items():
        app.exception_handler(kind)(_responder(app, translate, render))
    app.not_found(_responder(app, _unknown_route, render))
    return app


def _responder(
    app: APIGatewayRestResolver,
    translate: Callable[[Any], FlowStackError],
    render: ErrorRenderer,
) -> Callable[[Exception], Response[str]]:
    def respond(error: Exception) -> Response[str]:
        return _refused(translate(error), request_id(app), render)

    return respond


def entry_point(
    app: APIGatewayRestResolver,
    render: ErrorRenderer = enveloped,
    *,
    admit: Callable[[APIGatewayProxyEvent], object] | None = None,
) -> HttpFunction:
    """Return the Lambda handler of a resolver, with logs that name request and customer.

    Parameters
    ----------
    admit
        Raises what whoever must not come in is told, before the request is looked at.
    """

    @logger.inject_lambda_context(clear_state=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        request = event["requestContext"]
        logger.append_keys(
            api_request_id=request.get("requestId"),
            # Callers can choose the other one, and send the same again.
            extended_request_id=request.get("extendedRequestId"),
            customer_id=(request.get("authorizer") or {}).get("customer_id"),
        )
        telemetry.begin()
        try:
            proxied = APIGatewayProxyEvent(event)
            if admit is not None:
                admit(proxied)
            _check_body(proxied)
            return app.resolve(event, context)
        except FlowStackError as error:
            return _before_routing(_refused(error, request.get("requestId", ""), render))
        finally:
            telemetry.flush()

    return handler


def _refused(error: FlowStackError, api_request_id: str, render: ErrorRenderer) -> Response[str]:
    """Render an error, and leave a line about it in the log."""
    response = render(error, api_request_id)
    logger.info("refused", extra={"error_code": error.code, "status": response.status_code})
    telemetry.count_error(error)
    return response


def json_response(
    status: int, document: dict[str, Any], headers: dict[str, str] | None = None
) -> Response[str]:
    """Return a JSON response that no cache keeps."""
    return Response(
        status_code=status,
        content_type="application/json",
        body=_serialize(document),
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def request_id(app: APIGatewayRestResolver) -> str:
    """Return the id that API Gateway gave the request."""
    return app.current_event.request_context.request_id or ""


def customer_of(app: APIGatewayRestResolver) -> dict[str, str]:
    """Return what the authorizer found out about the caller: ``customer_id`` and ``tier``."""
    found: dict[str, str] = app.current_event.request_context.authorizer.raw_event
    return found


def operator_of(app: APIGatewayRestResolver) -> str:
    """Return who signed a request of an operator."""
    return signer_of(app.current_event)


def signer_of(request: APIGatewayProxyEvent) -> str:
    """Return the ARN of who signed a request.

    Raises
    ------
    NotFoundError
        Nobody did. API Gateway names the signer of every request it lets in; where it names
        nobody, the route is open by mistake, and looks as if it were not there.
    """
    arn = request.request_context.identity.user_arn
    if not arn:
        logger.error("an admin request without a signer")
        raise _unknown_route()
    return arn


def _serialize(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True)


def _check_body(request: APIGatewayProxyEvent) -> None:
    if request.http_method in _WITH_BODY or (request.http_method == "DELETE" and request.body):
        check_json_body(_text_of(request), request.headers.get("content-type"))


def _text_of(request: APIGatewayProxyEvent) -> str | None:
    try:
        return request.decoded_body
    except ValueError as error:  # neither Base64 nor UTF-8
        raise InvalidRequestError(
            "The body is not text in UTF-8.", details={"field": "body"}
        ) from error


def _before_routing(response: Response[str]) -> dict[str, Any]:
    """Write the answer to what is refused before there is a route, as the resolver would."""
    return {
        "statusCode": response.status_code,
        "multiValueHeaders": {
            name: [str(value)]
            for name, value in {
                "Content-Type": "application/json",
                **response.headers,
            }.items()
        },
        "body": response.body,
        "isBase64Encoded": False,
    }


def _invalid(error: RequestValidationError) -> InvalidRequestError:
    """Tell what is wrong with which field, without repeating what was sent."""
    problems = [
        {
            "field": _field(problem["loc"]),
            "problem": _said(problem)[:_MAX_SHOWN],
        }
        for problem in error.errors()[:_MAX_PROBLEMS]
    ]
    first = problems[0]
    return InvalidRequestError(
        f"{first['field']}: {first['problem']}.",
        details={"field": first["field"], "problems": problems},
    )


def _contended(error: StoreContentionError) -> ServiceUnavailableError:
    logger.warning("store contention", extra={"reason": str(error)})
    return ServiceUnavailableError(
        "FlowStack could not reach its records in time. Please try again.",
        details={"hint": "Retry after the given time."},
        retry_after_seconds=1,
    )


def _unknown_route(_: Exception | None = None) -> NotFoundError:
    return NotFoundError("There is nothing at this path and method.")


def _unexpected(error: Exception) -> FlowStackError:
    logger.error("unexpected failure", exc_info=error)
    return FlowStackError(
        "Something went wrong on our side. Nothing was counted.",
        details={"hint": "Retry with the same Idempotency-Key; report the request_id."},
    )


_TRANSLATIONS: Mapping[type[Exception], Callable[[Any], FlowStackError]] = MappingProxyType(
    {
        FlowStackError: lambda error: error,
        RequestValidationError: _invalid,
        StoreContentionError: _contended,
        Exception: _unexpected,
    }
)


def _said(problem: Mapping[str, Any]) -> str:
    """Return what is wrong; pydantic itself would quote a tag that nobody knows."""
    if problem["type"] == "union_tag_invalid":
        facts = problem["ctx"]
        return f"{facts['discriminator']} must be one of {facts['expected_tags']}"
    said: str = problem["msg"]
    return said.removeprefix("Value error, ")


def _field(location: tuple[str | int, ...]) -> str:
    path = ""
    for part in location[1:] if len(location) > 1 else location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path[:_MAX_SHOWN]
