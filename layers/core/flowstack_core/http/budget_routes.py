"""``GET /budget`` and ``PUT /budget``: the limits that customers set themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.own_limits import CeilingAction, OwnLimits
from flowstack_core.http.budget_documents import BudgetDocument
from flowstack_core.http.documents import documented
from flowstack_core.http.resolver import customer_of, json_response
from flowstack_core.services.own_limits import BudgetService, budget_document

logger = Logger()


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")  # noqa: TRY004 - for pydantic
    return value


Dollars = Annotated[Decimal, Field(decimal_places=2, max_digits=12), BeforeValidator(_number)]


class BudgetBody(BaseModel):
    """``PUT /budget``: what is not named stays as it is, and null takes a limit away."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    monthly_ceiling: Dollars | None = None
    action: Literal["warn", "block"] = "warn"
    session_turn_cap: StrictInt | None = None
    session_token_cap: StrictInt | None = None

    def applied_to(self, limits: OwnLimits) -> OwnLimits:
        """Return the limits as they are wanted."""
        named = self.model_fields_set
        ceiling, action, caps = limits.monthly_ceiling_cents, limits.action, limits.caps
        if "monthly_ceiling" in named:
            dollars = self.monthly_ceiling
            ceiling = None if dollars is None else int(dollars * 100)
        if "action" in named:
            action = CeilingAction(self.action)
        if "session_turn_cap" in named:
            caps = replace(caps, turns=self.session_turn_cap)
        if "session_token_cap" in named:
            caps = replace(caps, tokens=self.session_token_cap)
        return replace(limits, monthly_ceiling_cents=ceiling, action=action, caps=caps)


def add_budget_routes(app: APIGatewayRestResolver, service: Callable[[], BudgetService]) -> None:
    """Mount the routes. ``service`` is asked for on the first request."""

    @app.get(
        "/budget",
        summary="See your own limits, and what the period has cost so far",
        tags=["limits"],
        responses=documented(BudgetDocument, "Limits and spending.", *(401, 404, 429, 500, 503)),
    )
    def see() -> Response[Any]:
        budget = LambdaTimeBudget(app.lambda_context)
        found = service().budget(customer_of(app)["customer_id"], budget)
        return json_response(200, budget_document(found))

    @app.put(
        "/budget",
        summary="Set a monthly ceiling, and caps on the turns and tokens of a session",
        tags=["limits"],
        responses=documented(
            BudgetDocument,
            "Limits and spending, after the change.",
            *(400, 401, 403, 404, 409, 413, 415, 429, 500, 503),
        ),
    )
    def change(body: BudgetBody) -> Response[Any]:
        caller, budget = customer_of(app), LambdaTimeBudget(app.lambda_context)
        changed = service().change(caller["key_id"], caller["customer_id"], body.applied_to, budget)
        logger.info("limits changed", extra={"version": changed.limits.version})
        return json_response(200, budget_document(changed))
