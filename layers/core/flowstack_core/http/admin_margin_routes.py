"""``/admin/…``: what customers' managed models cost beside what they pay (F2)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from flowstack_core.domain.margin import Margin, MarginRun, TierTotal
from flowstack_core.domain.periods import Period, instant, optional_instant
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import Talk
from flowstack_core.http.admin_billing_routes import CustomerId
from flowstack_core.http.resolver import json_response, operator_of
from flowstack_core.http.statement_responses import PERIOD_PATTERN
from flowstack_core.services.margins import MarginService

_CENT = Decimal("0.01")
_TENTH = Decimal("0.1")

PeriodAsked = Annotated[str | None, Query(pattern=PERIOD_PATTERN)]


# --- documents -----------------------------------------------------------------------------


def amounts_document(amounts: Margin | TierTotal) -> dict[str, Any]:
    """Render revenue, cost and what is left, in dollars; the cost is rounded to cents.

    ``unpriced`` is the part of ``managed`` that no price is known of: ``managed_cost`` lacks it.
    """
    revenue, cost = Decimal(amounts.revenue_cents) / 100, amounts.use.cost.quantize(_CENT)
    share = None if amounts.share is None else amounts.share * 100
    return {
        "revenue": float(revenue),
        "revenue_cents": amounts.revenue_cents,
        "managed_cost": float(cost),
        "margin": float(revenue - cost),
        "cost_share_percent": None if share is None else float(share.quantize(_TENTH)),
        "managed": _talk_document(amounts.use.talk),
        "unpriced": _talk_document(amounts.use.unpriced),
    }


def margin_document(margin: Margin) -> dict[str, Any]:
    """Render one customer's margin; ``tier`` is the one that its price is of."""
    return {
        "customer_id": margin.customer_id,
        "tier": margin.tier.value,
        **amounts_document(margin),
    }


def report_document(report: MarginRun) -> dict[str, Any]:
    """Render the margins of all customers; ``worst`` are the first fifty."""
    totals = report.totals
    return {
        "period": report.period.name,
        "as_of": instant(report.started_at),
        "made_at": optional_instant(report.finished_at),
        "share_percent": report.share_percent,
        "customers_over_share": totals.exceeding,
        "tiers": [
            {"tier": tier.value, **_total_document(totals.tiers.get(tier, TierTotal()))}
            for tier in Tier
        ],
        "totals": _total_document(totals.everybody),
        "worst": [margin_document(margin) for margin in totals.worst],
    }


def _total_document(total: TierTotal) -> dict[str, Any]:
    return {"customers": total.customers, **amounts_document(total)}


def _talk_document(talk: Talk) -> dict[str, int]:
    return {
        "messages": talk.messages,
        "input_tokens": talk.input_tokens,
        "output_tokens": talk.output_tokens,
    }


# --- routes --------------------------------------------------------------------------------


def add_margin_routes(app: APIGatewayRestResolver, margins: Callable[[], MarginService]) -> None:
    """Add the routes to one customer's margin and to the report of all."""

    @app.get("/admin/margins")
    def show_all(period: PeriodAsked = None) -> Response[Any]:
        operator_of(app)
        report = margins().report(None if period is None else Period.parse(period))
        return json_response(200, report_document(report))

    @app.get("/admin/customers/<customer_id>/margin")
    def show(customer_id: CustomerId, period: PeriodAsked = None) -> Response[Any]:
        operator_of(app)
        asked = None if period is None else Period.parse(period)
        found, margin = margins().margin(customer_id, asked)
        return json_response(200, {"period": found.name, **margin_document(margin)})
