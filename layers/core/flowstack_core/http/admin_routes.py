"""``/admin/…``: what operators do. API Gateway lets in who signs with IAM credentials.

The actor of the audit trail is the ARN that API Gateway found for the signature; no header can
name another. A key's text is in the answer that makes it and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    model_validator,
)

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.identifiers import MAX_NAME_LENGTH, checked_name
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.http.requests import Text
from flowstack_core.http.resolver import create_app, json_response
from flowstack_core.services.accounts import AccountService, CustomerClock, IssuedKey
from flowstack_core.services.documents import subscription_document
from flowstack_core.services.ports import AuditRecord, Customer
from flowstack_core.services.usage import UsageAudit, UsageService

logger = Logger()

_MAX_SESSIONS = 1_000_000_000
_MAX_PRICE_USD = 10_000_000
_MAX_REASON = 500
_MAX_MINUTES = 60 * 24 * 366 * 10
_YEARS = range(2000, 2200)
_SHOWN_ONCE = "This is the only time that the key is shown. Store it now."


# --- bodies --------------------------------------------------------------------------------


def _only_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a text such as 2026-12-01T00:00:00Z")  # noqa: TRY004 - for pydantic
    return value


def _near_enough(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"must lie in the years {_YEARS.start} to {_YEARS.stop - 1}")
    return moment


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - for pydantic
    return value


Name = Annotated[
    StrictStr, Field(min_length=1, max_length=MAX_NAME_LENGTH), AfterValidator(checked_name)
]
Instant = Annotated[AwareDatetime, BeforeValidator(_only_text), AfterValidator(_near_enough)]
SessionLimit = Annotated[StrictInt, Field(ge=0, le=_MAX_SESSIONS)]
PriceUSD = Annotated[
    Decimal,
    Field(ge=0, le=_MAX_PRICE_USD, decimal_places=2),
    BeforeValidator(_no_truth_value),
]
Minutes = Annotated[float, Field(gt=0, le=_MAX_MINUTES), BeforeValidator(_no_truth_value)]

CustomerId = Annotated[str, Path(max_length=64)]
KeyId = Annotated[str, Path(max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ContractBody(_Body):
    """What a contract may say otherwise than the plan. Prices are US dollars a month."""

    session_limit: SessionLimit | None = None
    price_usd: PriceUSD | None = None

    @property
    def price_cents(self) -> int | None:
        """The price in integer cents; exact, as it has two decimals at most."""
        return None if self.price_usd is None else int(self.price_usd * 100)


class CustomerBody(_ContractBody):
    """``POST /admin/customers``."""

    name: Name
    tier: Tier = Tier.FREE


class TierBody(_ContractBody):
    """``PUT /admin/customers/{id}/tier``."""

    tier: Tier


class KeyBody(_Body):
    """``POST /admin/customers/{id}/keys``."""

    name: Name = "API key"
    expires_at: Instant | None = None


class CreditBody(_Body):
    """``POST /admin/customers/{id}/credits``; the same ``request_id`` credits once."""

    sessions: Annotated[StrictInt, Field(gt=0, le=_MAX_SESSIONS)]
    reason: Annotated[Text, Field(max_length=_MAX_REASON), AfterValidator(_said)]
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")] | None = None


class ClockBody(_Body):
    """``PUT /admin/customers/{id}/clock``."""

    advance_minutes: Minutes | None = None
    set_to: Instant | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ClockBody:
        if (self.advance_minutes is None) == (self.set_to is None):
            raise ValueError("give either advance_minutes or set_to")
        return self

    @property
    def advance(self) -> timedelta | None:
        """How far to go, where the body says so."""
        return None if self.advance_minutes is None else timedelta(minutes=self.advance_minutes)


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
        "expires_at": _optional(key.record.expires_at),
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
    }


def clock_document(customer_id: str, clock: CustomerClock) -> dict[str, Any]:
    """Render a test clock."""
    return {
        "customer_id": customer_id,
        "now": instant(clock.now),
        "offset_seconds": clock.offset_seconds,
    }


def _optional(moment: datetime | None) -> str | None:
    return None if moment is None else instant(moment)


# --- routes --------------------------------------------------------------------------------


def admin_app(
    accounts: Callable[[], AccountService],
    usage: Callable[[], UsageService],
    *,
    test_clocks: bool,
) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request.

    Without ``test_clocks`` there is no route to a clock at all.
    """
    app = create_app()
    _add_customers(app, accounts)
    _add_keys(app, accounts)
    _add_subscriptions(app, accounts)
    _add_usage(app, usage)
    if test_clocks:
        _add_clocks(app, accounts)
    return app


def _actor(app: APIGatewayRestResolver) -> str:
    """Return who signed the request.

    API Gateway names the signer of every request it lets in. Where it names nobody, the route is
    open by mistake, and looks as if it were not there.
    """
    arn = app.current_event.request_context.identity.user_arn
    if not arn:
        logger.error("an admin request without a signer")
        raise NotFoundError("There is nothing at this path and method.")
    return arn


def _add_customers(app: APIGatewayRestResolver, accounts: Callable[[], AccountService]) -> None:
    @app.post("/admin/customers")
    def create(body: CustomerBody) -> Response[Any]:
        customer, subscription, key = accounts().create_customer(
            _actor(app), body.name, body.tier, body.session_limit, body.price_cents
        )
        logger.info("customer created", extra={"customer_id": customer.customer_id})
        document = customer_document(customer, subscription)
        return json_response(201, {"customer": document, "key": key_document(key)})

    @app.get("/admin/customers")
    def list_(
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
    ) -> Response[Any]:
        _actor(app)
        page = accounts().customers(limit, cursor)
        documents = [customer_document(*entry) for entry in page.customers]
        return json_response(200, {"customers": documents, "next_cursor": page.next_cursor})

    @app.get("/admin/customers/<customer_id>")
    def show(customer_id: CustomerId) -> Response[Any]:
        _actor(app)
        customer, subscription = accounts().customer(customer_id)
        return json_response(200, {"customer": customer_document(customer, subscription)})


def _add_keys(app: APIGatewayRestResolver, accounts: Callable[[], AccountService]) -> None:
    @app.post("/admin/customers/<customer_id>/keys")
    def issue(customer_id: CustomerId, body: KeyBody) -> Response[Any]:
        key = accounts().issue_key(_actor(app), customer_id, body.name, body.expires_at)
        logger.info("key issued", extra={"key_id": key.record.key_id})
        return json_response(201, {"customer_id": customer_id, "key": key_document(key)})

    @app.get("/admin/customers/<customer_id>/keys")
    def list_(customer_id: CustomerId) -> Response[Any]:
        _actor(app)
        now = accounts().now(customer_id)
        documents = [
            {
                "key_id": key.key_id,
                "name": key.name,
                "masked": key.masked,
                "status": key.status(now),
                "created_at": instant(key.created_at),
                "expires_at": _optional(key.expires_at),
                "revoked_at": _optional(key.revoked_at),
            }
            for key in accounts().keys(customer_id)
        ]
        return json_response(200, {"customer_id": customer_id, "keys": documents})

    @app.delete("/admin/customers/<customer_id>/keys/<key_id>")
    def revoke(customer_id: CustomerId, key_id: KeyId) -> Response[Any]:
        revoked_at = accounts().revoke_key(_actor(app), customer_id, key_id)
        logger.info("key revoked", extra={"key_id": key_id})
        key = {"key_id": key_id, "status": "revoked", "revoked_at": instant(revoked_at)}
        return json_response(200, {"customer_id": customer_id, "key": key})


def _add_subscriptions(app: APIGatewayRestResolver, accounts: Callable[[], AccountService]) -> None:
    @app.put("/admin/customers/<customer_id>/tier")
    def set_tier(customer_id: CustomerId, body: TierBody) -> Response[Any]:
        subscription = accounts().set_terms(
            _actor(app), customer_id, body.tier, body.session_limit, body.price_cents
        )
        document = subscription_document(subscription)
        return json_response(200, {"customer_id": customer_id, "subscription": document})

    @app.post("/admin/customers/<customer_id>/credits")
    def credit(customer_id: CustomerId, body: CreditBody) -> Response[Any]:
        period = accounts().credit(
            _actor(app), customer_id, body.sessions, body.reason, body.request_id
        )
        return json_response(
            200, {"customer_id": customer_id, "sessions": body.sessions, "period": period.name}
        )

    @app.get("/admin/customers/<customer_id>/audit-trail")
    def audit_trail(
        customer_id: CustomerId, limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> Response[Any]:
        _actor(app)
        trail = [audit_document(audit) for audit in accounts().audit_trail(customer_id, limit)]
        return json_response(200, {"customer_id": customer_id, "audit_trail": trail})


def _add_usage(app: APIGatewayRestResolver, usage: Callable[[], UsageService]) -> None:
    @app.get("/admin/customers/<customer_id>/usage")
    def show(customer_id: CustomerId) -> Response[Any]:
        _actor(app)
        document = usage().usage_document(customer_id)
        return json_response(200, {"customer_id": customer_id, **document})

    @app.get("/admin/customers/<customer_id>/usage/audit")
    def audit(
        customer_id: CustomerId,
        period: Annotated[str | None, Query(pattern=r"^2[01]\d\d-(0[1-9]|1[0-2])$")] = None,
    ) -> Response[Any]:
        _actor(app)
        found = usage().audit(customer_id, None if period is None else Period.parse(period))
        return json_response(200, usage_audit_document(customer_id, found))


def _add_clocks(app: APIGatewayRestResolver, accounts: Callable[[], AccountService]) -> None:
    @app.get("/admin/customers/<customer_id>/clock")
    def show(customer_id: CustomerId) -> Response[Any]:
        _actor(app)
        clock = accounts().clock(customer_id)
        if clock is None:
            raise NotFoundError("Test clocks do not exist on this stage.")
        return json_response(200, clock_document(customer_id, clock))

    @app.put("/admin/customers/<customer_id>/clock")
    def move(customer_id: CustomerId, body: ClockBody) -> Response[Any]:
        clock = accounts().move_clock(
            _actor(app), customer_id, advance=body.advance, set_to=body.set_to
        )
        return json_response(200, clock_document(customer_id, clock))
