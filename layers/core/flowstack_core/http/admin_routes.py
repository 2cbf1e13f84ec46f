"""``/admin/…``: what operators do. API Gateway lets in who signs with IAM credentials.

The actor of the audit trail is the ARN that API Gateway found for the signature; no header can
name another. A key's text is in the answer that makes it and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.history import Granularity
from flowstack_core.domain.periods import Period, instant, optional_instant
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.http.admin_billing_routes import (
    CustomerId,
    add_billing_routes,
    add_month_end_routes,
)
from flowstack_core.http.admin_bodies import ClockBody, CreditBody, CustomerBody, KeyBody
from flowstack_core.http.admin_data_rights_routes import add_data_rights_routes
from flowstack_core.http.admin_margin_routes import add_margin_routes
from flowstack_core.http.admin_webhook_routes import add_admin_webhook_routes
from flowstack_core.http.resolver import create_app, json_response, operator_of
from flowstack_core.http.statement_responses import PERIOD_PATTERN
from flowstack_core.http.usage_history import (
    BrokenDown,
    FirstDay,
    LastDay,
    Spans,
    history_query,
)
from flowstack_core.services.accounts import AccountService, CustomerClock, IssuedKey
from flowstack_core.services.alerts import AlertService, alerts_document
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.documents import subscription_document
from flowstack_core.services.erasures import ErasureService
from flowstack_core.services.exports import ExportService
from flowstack_core.services.forecasts import ForecastService, RecommendationService
from flowstack_core.services.history import HistoryService
from flowstack_core.services.margins import MarginService
from flowstack_core.services.month_end import MonthEndService
from flowstack_core.services.ports.accounts import AuditRecord, Customer
from flowstack_core.services.statements import StatementService
from flowstack_core.services.subscriptions import SubscriptionService
from flowstack_core.services.usage import UsageAudit, UsageService
from flowstack_core.services.webhooks import WebhookService

logger = Logger()

_SHOWN_ONCE = "This is the only time that the key is shown. Store it now."

KeyId = Annotated[str, Path(max_length=64)]


# --- documents -----------------------------------------------------------------------------


def customer_document(customer: Customer, subscription: Subscription) -> dict[str, Any]:
    """Render a customer with its subscription."""
    return {
        "customer_id": customer.customer_id,
        "name": customer.name,
        "created_at": instant(customer.created_at),
        "subscription": subscription_document(subscription),
    }


def key_document(key: IssuedKey) -> dict[str, Any]:
    """Render a key at the only moment its text exists."""
    return {
        "key_id": key.record.key_id,
        "name": key.record.name,
        "text": key.key.text,
        "created_at": instant(key.record.created_at),
        "expires_at": optional_instant(key.record.expires_at),
        "notice": _SHOWN_ONCE,
    }


def audit_document(audit: AuditRecord) -> dict[str, Any]:
    """Render an audit record."""
    return {
        "audit_id": audit.audit_id,
        "at": instant(audit.at),
        "actor": audit.actor,
        "action": audit.action,
        "before": audit.before,
        "after": audit.after,
    }


def usage_audit_document(customer_id: str, audit: UsageAudit) -> dict[str, Any]:
    """Render a period's count beside its records."""
    return {
        "customer_id": customer_id,
        "period": audit.period.name,
        "counted": audit.counted,
        "expected": audit.expected,
        "drift": audit.drift,
        "records": audit.records,
        "released": audit.released,
        "held": audit.held,
        "rollups": {
            "sessions": audit.rolled_up,
            "missing": audit.missing,
            "drifting_days": [str(day) for day in audit.drifting_days],
        },
    }


def clock_document(customer_id: str, clock: CustomerClock) -> dict[str, Any]:
    """Render a test clock."""
    return {
        "customer_id": customer_id,
        "now": instant(clock.now),
        "offset_seconds": clock.offset_seconds,
    }


# --- routes --------------------------------------------------------------------------------


def admin_app(
    accounts: Callable[[], AccountService],
    usage: Callable[[], UsageService],
    *,
    history: Callable[[], HistoryService],
    alerts: Callable[[], AlertService],
    subscriptions: Callable[[], SubscriptionService],
    statements: Callable[[], StatementService],
    closings: Callable[[], ClosingService],
    month_end: Callable[[], MonthEndService],
    exports: Callable[[], ExportService],
    erasures: Callable[[], ErasureService],
    forecasts: Callable[[], ForecastService],
    recommendations: Callable[[], RecommendationService],
    webhooks: Callable[[], WebhookService],
    margins: Callable[[], MarginService],
    test_clocks: bool,
) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request.

    Without ``test_clocks`` there is no route to a clock at all.
    """
    app = create_app()
    _add_customers(app, accounts)
    _add_keys(app, accounts)
    _add_credits(app, accounts)
    _add_usage(app, usage)
    _add_history(app, accounts, history)
    _add_outlook(app, forecasts, recommendations)
    _add_alerts(app, accounts, alerts)
    add_billing_routes(app, accounts, subscriptions, statements, closings)
    add_month_end_routes(app, month_end)
    add_data_rights_routes(app, exports, erasures)
    add_admin_webhook_routes(app, accounts, webhooks)
    add_margin_routes(app, margins)
    if test_clocks:
        _add_clocks(app, accounts)
    return app


def _add_customers(app: APIGatewayRestResolver, accounts: Callable[[], AccountService]) -> None:
    @app.post("/admin/customers")
    def create(body: CustomerBody) -> Response[Any]:
        customer, subscription, key = accounts().create_customer(
            operator_of(app), body.name, body.tier, body.session_limit, body.price_cents
        )
        logger.info("customer created", extra={"customer_id": customer.customer_id})
        document = customer_document(customer, subscription)
        return json_response(201, {"customer": document, "key": key_document(key)})

    @app.get("/admin/customers")
    def list_(
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
    ) -> Response[Any]:
        operator_of(app)
        page = accounts().customers(limit, cursor)
        documents = [customer_document(*entry) for entry in page.customers]
        return json_response(200, {"customers": documents, "next_cursor": page.next_cursor})

    @app.get("/admin/customers/<customer_id>")
    def show(customer_id: CustomerId) -> Response[Any]:
        operator_of(app)
        customer, subscription = accounts().customer(customer_id)
        return json_response(200, {"customer": customer_document(customer, subscription)})


def _add_keys(app: APIGatewayRestResolver, accounts: Callable[[], AccountService]) -> None:
    @app.post("/admin/customers/<customer_id>/keys")
    def issue(customer_id: CustomerId, body: KeyBody) -> Response[Any]:
        key = accounts().issue_key(operator_of(app), customer_id, body.name, body.expires_at)
        logger.info("key issued", extra={"key_id": key.record.key_id})
        return json_response(201, {"customer_id": customer_id, "key": key_document(key)})

    @app.get("/admin/customers/<customer_id>/keys")
    def list_(customer_id: CustomerId) -> Response[Any]:
        operator_of(app)
        now = accounts().now(customer_id)
        documents = [
            {
                "key_id": key.key_id,
                "name": key.name,
                "masked": key.masked,
                "status": key.status(now),
                "created_at": instant(key.created_at),
                "expires_at": optional_instant(key.expires_at),
                "revoked_at": optional_instant(key.revoked_at),
            }
            for key in accounts().keys(customer_id)
        ]
        return json_response(200, {"customer_id": customer_id, "keys": documents})

    @app.delete("/admin/customers/<customer_id>/keys/<key_id>")
    def revoke(customer_id: CustomerId, key_id: KeyId) -> Response[Any]:
        revoked_at = accounts().revoke_key(operator_of(app), customer_id, key_id)
        logger.info("key revoked", extra={"key_id": key_id})
        key = {"key_id": key_id, "status": "revoked", "revoked_at": instant(revoked_at)}
        return json_response(200, {"customer_id": customer_id, "key": key})


def _add_credits(app: APIGatewayRestResolver, accounts: Callable[[], AccountService]) -> None:
    @app.post("/admin/customers/<customer_id>/credits")
    def credit(customer_id: CustomerId, body: CreditBody) -> Response[Any]:
        period = accounts().credit(
            operator_of(app), customer_id, body.sessions, body.reason, body.request_id
        )
        return json_response(
            200, {"customer_id": customer_id, "sessions": body.sessions, "period": period.name}
        )

    @app.get("/admin/customers/<customer_id>/audit-trail")
    def audit_trail(
        customer_id: CustomerId, limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> Response[Any]:
        operator_of(app)
        trail = [audit_document(audit) for audit in accounts().audit_trail(customer_id, limit)]
        return json_response(200, {"customer_id": customer_id, "audit_trail": trail})


def _add_usage(app: APIGatewayRestResolver, usage: Callable[[], UsageService]) -> None:
    @app.get("/admin/customers/<customer_id>/usage")
    def show(customer_id: CustomerId) -> Response[Any]:
        operator_of(app)
        document = usage().usage_document(customer_id)
        return json_response(200, {"customer_id": customer_id, **document})

    @app.get("/admin/customers/<customer_id>/usage/audit")
    def audit(
        customer_id: CustomerId,
        period: Annotated[str | None, Query(pattern=PERIOD_PATTERN)] = None,
    ) -> Response[Any]:
        operator_of(app)
        found = usage().audit(customer_id, None if period is None else Period.parse(period))
        return json_response(200, usage_audit_document(customer_id, found))


def _add_history(
    app: APIGatewayRestResolver,
    accounts: Callable[[], AccountService],
    history: Callable[[], HistoryService],
) -> None:
    @app.get("/admin/customers/<customer_id>/usage-history")
    def show(
        customer_id: CustomerId,
        granularity: Spans = Granularity.DAILY,
        first: FirstDay = None,
        last: LastDay = None,
        by: BrokenDown = None,
    ) -> Response[Any]:
        operator_of(app)
        accounts().customer(customer_id)
        document = history().document(customer_id, history_query(granularity, first, last, by))
        return json_response(200, {"customer_id": customer_id, **document})


def _add_outlook(
    app: APIGatewayRestResolver,
    forecasts: Callable[[], ForecastService],
    recommendations: Callable[[], RecommendationService],
) -> None:
    @app.get("/admin/customers/<customer_id>/forecast")
    def forecast(customer_id: CustomerId) -> Response[Any]:
        operator_of(app)
        document = forecasts().forecast_document(customer_id)
        return json_response(200, {"customer_id": customer_id, **document})

    @app.get("/admin/customers/<customer_id>/recommendations")
    def advice(customer_id: CustomerId) -> Response[Any]:
        operator_of(app)
        document = recommendations().recommendations_document(customer_id)
        return json_response(200, {"customer_id": customer_id, **document})


def _add_alerts(
    app: APIGatewayRestResolver,
    accounts: Callable[[], AccountService],
    alerts: Callable[[], AlertService],
) -> None:
    @app.get("/admin/customers/<customer_id>/alerts")
    def show(
        customer_id: CustomerId,
        period: Annotated[str | None, Query(pattern=PERIOD_PATTERN)] = None,
    ) -> Response[Any]:
        operator_of(app)
        accounts().customer(customer_id)  # refuses who does not exist
        named = None if period is None else Period.parse(period)
        document = alerts_document(alerts().overview(customer_id, named))
        return json_response(200, {"customer_id": customer_id, **document})


def _add_clocks(app: APIGatewayRestResolver, accounts: Callable[[], AccountService]) -> None:
    @app.get("/admin/customers/<customer_id>/clock")
    def show(customer_id: CustomerId) -> Response[Any]:
        operator_of(app)
        clock = accounts().clock(customer_id)
        if clock is None:
            raise NotFoundError("Test clocks do not exist on this stage.")
        return json_response(200, clock_document(customer_id, clock))

    @app.put("/admin/customers/<customer_id>/clock")
    def move(customer_id: CustomerId, body: ClockBody) -> Response[Any]:
        clock = accounts().move_clock(
            operator_of(app), customer_id, advance=body.advance, set_to=body.set_to
        )
        return json_response(200, clock_document(customer_id, clock))
