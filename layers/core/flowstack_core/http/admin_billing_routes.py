"""``/admin/…``: subscriptions, statements and the month end, as operators see and move them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.month_end import MonthEndRun, Progress
from flowstack_core.domain.periods import Period, instant, optional_instant
from flowstack_core.http.admin_bodies import TierBody
from flowstack_core.http.resolver import json_response, operator_of
from flowstack_core.http.statement_responses import (
    Cursor,
    PageSize,
    PeriodName,
    history_response,
    statement_response,
)
from flowstack_core.http.subscription_changes import PreviewFlag, changed_or_previewed
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.documents import subscription_document
from flowstack_core.services.month_end import MonthEndService
from flowstack_core.services.statements import StatementService
from flowstack_core.services.subscriptions import SubscriptionService, move_to

logger = Logger()

CustomerId = Annotated[str, Path(max_length=64)]

_CLOSED_AT_ONCE = 36
"""How many periods of a customer one request closes: as many as fit its time."""

_FAILURES_SHOWN = 100


# --- documents -----------------------------------------------------------------------------


def run_document(run: MonthEndRun) -> dict[str, Any]:
    """Render the run of a month end; ``customers`` are those listed so far."""
    return {
        "period": run.period.name,
        "customers": run.customers,
        "listed": run.listed_at is not None,
        "started_at": instant(run.started_at),
        "listed_at": optional_instant(run.listed_at),
        "finished_at": optional_instant(run.finished_at),
    }


def progress_document(progress: Progress) -> dict[str, Any]:
    """Render how far a month end is: ``closed + open + failed`` is ``customers``.

    ``failures`` are the first hundred; ``failed`` counts all of them.
    """
    failures = sorted(progress.failed.items())[:_FAILURES_SHOWN]
    return {
        **run_document(progress.run),
        "customers": progress.customers,
        "closed": progress.closed,
        "open": progress.open,
        "failed": len(progress.failed),
        "done": progress.done,
        "failures": [{"customer_id": who, "reason": why} for who, why in failures],
    }


# --- routes --------------------------------------------------------------------------------


def add_billing_routes(
    app: APIGatewayRestResolver,
    accounts: Callable[[], AccountService],
    subscriptions: Callable[[], SubscriptionService],
    statements: Callable[[], StatementService],
    closings: Callable[[], ClosingService],
) -> None:
    """Add the routes to one customer's subscription and statements."""

    @app.get("/admin/customers/<customer_id>/subscription")
    def show_subscription(customer_id: CustomerId) -> Response[Any]:
        operator_of(app)
        document = subscription_document(subscriptions().subscription(customer_id))
        return json_response(200, {"customer_id": customer_id, "subscription": document})

    @app.put("/admin/customers/<customer_id>/tier")
    def set_tier(
        customer_id: CustomerId, body: TierBody, preview: PreviewFlag = "false"
    ) -> Response[Any]:
        found = changed_or_previewed(
            subscriptions(), operator_of(app), customer_id, move_to(body.terms), preview
        )
        return json_response(200, {"customer_id": customer_id, **found})

    @app.get("/admin/customers/<customer_id>/statements")
    def list_statements(
        customer_id: CustomerId, limit: PageSize = 12, cursor: Cursor = None
    ) -> Response[Any]:
        operator_of(app)
        # Statements outlive their customer: only somebody without any has to be known.
        if not statements().history(customer_id, 1, None).statements:
            accounts().customer(customer_id)
        return history_response(app, statements(), customer_id, limit, cursor)

    @app.get("/admin/customers/<customer_id>/statements/<period>")
    def show_statement(customer_id: CustomerId, period: PeriodName) -> Response[Any]:
        operator_of(app)
        return statement_response(app, statements().statement(customer_id, Period.parse(period)))

    @app.post("/admin/customers/<customer_id>/close")
    def close(customer_id: CustomerId) -> Response[Any]:
        actor = operator_of(app)
        accounts().customer(customer_id)
        closed = closings().close_due(customer_id, at_most=_CLOSED_AT_ONCE)
        logger.info("periods closed", extra={"actor": actor, "closed": closed})
        return json_response(200, {"customer_id": customer_id, "closed": closed})


def add_month_end_routes(
    app: APIGatewayRestResolver, month_end: Callable[[], MonthEndService]
) -> None:
    """Add the routes to the month end of all customers."""

    @app.get("/admin/month-ends")
    def list_(limit: Annotated[int, Query(ge=1, le=100)] = 12) -> Response[Any]:
        operator_of(app)
        documents = [run_document(run) for run in month_end().runs(limit)]
        return json_response(200, {"month_ends": documents})

    @app.post("/admin/month-ends/redrive")
    def redrive(limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> Response[Any]:
        actor = operator_of(app)
        redriven = month_end().redrive(limit)
        logger.info("dead letters redriven", extra={"actor": actor, "redriven": redriven})
        return json_response(200, {"redriven": redriven})

    @app.get("/admin/month-ends/<period>")
    def show(period: PeriodName) -> Response[Any]:
        operator_of(app)
        progress = month_end().progress(Period.parse(period))
        return json_response(200, {"month_end": progress_document(progress)})

    @app.post("/admin/month-ends/<period>")
    def start_or_resume(period: PeriodName) -> Response[Any]:
        actor, named = operator_of(app), Period.parse(period)
        try:
            status, progress = 200, month_end().resume(named)
        except NotFoundError:
            month_end().start(named)
            status, progress = 201, month_end().progress(named)
        logger.info("month end", extra={"actor": actor, "period": period, "status": status})
        return json_response(status, {"month_end": progress_document(progress)})
