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
from flowstack_core.services.ports import StoreContentionError

logger = Logger()

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_MAX_PROBLEMS = 10
_MAX_SHOWN = 200

HttpFunction = Callable[[dict[str, Any], Any], dict[str, Any]]


def create_app() -> APIGatewayRestResolver:
    """Return a resolver that validates requests and renders every failure as an envelope."""
    app = APIGatewayRestResolver(enable_validation=True, serializer=_serialize)
    for kind, translate in _TRANSLATIONS.items():
        app.exception_handler(kind)(_responder(app, translate))
    app.not_found(_responder(app, _unknown_route))
    return app


def _responder(
    app: APIGatewayRestResolver, translate: Callable[[Any], FlowStackError]
) -> Callable[[Exception], Response[str]]:
    def respond(error: Exception) -> Response[str]:
        return error_response(app, translate(error))

    return respond


def entry_point(app: APIGatewayRestResolver) -> HttpFunction:
    """Return the Lambda handler of a resolver, with logs that name request and customer."""

    @logger.inject_lambda_context(clear_state=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        request = event["requestContext"]
        logger.append_keys(
            api_request_id=request.get("requestId"),
            customer_id=(request.get("authorizer") or {}).get("customer_id"),
        )
        telemetry.count("Requests")
        try:
            _check_body(APIGatewayProxyEvent(event))
            return app.resolve(event, context)
        except FlowStackError as error:
            return _before_routing(error, request.get("requestId", ""))
        finally:
            telemetry.flush()

    return handler


def error_response(app: APIGatewayRestResolver, error: FlowStackError) -> Response[str]:
    """Render an error, and leave a line about it in the log."""
    return _error_response(error, request_id(app))


def _error_response(error: FlowStackError, api_request_id: str) -> Response[str]:
    status = int(status_of(error))
    logger.info("refused", extra={"error_code": error.code, "status": status})
    telemetry.count_error(error)
    return json_response(status, envelope(error, api_request_id), error_headers(error))


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


def _serialize(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True)


def _check_body(request: APIGatewayProxyEvent) -> None:
    if request.http_method in _WITH_BODY or (request.http_method == "DELETE" and request.body):
        check_json_body(request.decoded_body, request.headers.get("content-type"))


def _before_routing(error: FlowStackError, api_request_id: str) -> dict[str, Any]:
    """Render an error that is met before there is a route, as the resolver would."""
    response = _error_response(error, api_request_id)
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
            "problem": problem["msg"].removeprefix("Value error, ")[:_MAX_SHOWN],
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


def _unknown_route(_: Exception) -> NotFoundError:
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


def _field(location: tuple[str | int, ...]) -> str:
    path = ""
    for part in location[1:] if len(location) > 1 else location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path[:_MAX_SHOWN]
