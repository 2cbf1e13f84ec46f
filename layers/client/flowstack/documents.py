"""What the API answers with, as typed objects that also read like the JSON they came from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from flowstack.money import Money

NEAR_LIMIT_PERCENT = 80


class Document(BaseModel):
    """A JSON document: ``document.tier`` and ``document["tier"]`` are the same.

    Fields of a newer server than this SDK are kept, and read the same ways.
    """

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        # A field of a newer server may be called like a method here.
        extra = self.model_extra or {}
        return extra[name] if name in extra else getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def keys(self) -> list[str]:
        """Return the names of all fields, derived ones included."""
        derived = (
            name
            for kind in type(self).__mro__
            if issubclass(kind, Document) and kind is not Document
            for name, member in vars(kind).items()
            if isinstance(member, property)
        )
        return [*type(self).model_fields, *(self.model_extra or {}), *derived]

    def items(self) -> list[tuple[str, Any]]:
        """Return the names and values of all fields, derived ones included."""
        return [(name, self[name]) for name in self.keys()]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or ``default`` where there is none of this name."""
        try:
            return self[name]
        except KeyError:
            return default


# --- answers ------------------------------------------------------------------------------------


class TokenCount(Document):
    """Tokens of one answer, as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


class Session(Document):
    """The session that a message belongs to. ``new`` tells whether it started it."""

    id: str
    new: bool
    agent: str
    conversation_id: str
    period: str
    started_at: datetime
    ends_at: datetime


class ToolCall(Document):
    """A tool that the model asks for."""

    id: str
    name: str
    input: dict[str, Any]


class Answer(Document):
    """The answer to a message.

    Attributes
    ----------
    model_notice
        Says so where a retired model's successor answered in its place.
    tool_calls
        What the model asks for; empty once all tools were run.
    """

    content: str
    stop_reason: str
    model: str
    provider: str
    usage: TokenCount = TokenCount()
    session: Session
    tool_calls: list[ToolCall] = Field(default_factory=list)
    model_notice: str | None = None

    def __str__(self) -> str:
        return self.content


# --- where a customer stands --------------------------------------------------------------------


class UsageStats(Document):
    """Where the customer stands in the present billing period, a calendar month in UTC."""

    tier: str = "free"
    current_charges: Money = Money(0)
    sessions_used: int = 0
    sessions_limit: int = 0
    sessions_remaining: int = 0
    sessions_held: int = 0
    period: str | None = None
    period_start: datetime | None = None
    resets_at: datetime | None = None
    now: datetime | None = None
    reason: str | None = None

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Read ``GET /usage``."""
        period = document["current_period"]
        return cls(
            tier=document["tier"],
            current_charges=document["current_charges"],
            sessions_used=period["sessions_used"],
            sessions_limit=period["sessions_limit"],
            sessions_remaining=period["sessions_remaining"],
            sessions_held=period.get("sessions_held", 0),
            period=period.get("name"),
            period_start=period.get("start"),
            resets_at=period.get("end"),
            now=period.get("now"),
            reason=document.get("quota", {}).get("reason"),
        )

    @property
    def usage_percentage(self) -> float:
        """Share of the limit that is used, in percent; 100 where the limit is zero."""
        if self.sessions_limit == 0:
            return 100.0
        return self.sessions_used * 100 / self.sessions_limit

    @property
    def is_near_limit(self) -> bool:
        """Whether at least 80 % of the limit is used."""
        return self.sessions_used * 100 >= self.sessions_limit * NEAR_LIMIT_PERCENT

    @property
    def can_make_requests(self) -> bool:
        """Whether another session can start; running ones go on either way."""
        return self.sessions_used < self.sessions_limit

    @property
    def days_left(self) -> int | None:
        """Whole days until the quota resets."""
        if self.now is None or self.resets_at is None:
            return None
        return (self.resets_at - self.now).days

    def __str__(self) -> str:
        return (
            f"Usage: {self.sessions_used:,}/{self.sessions_limit:,} sessions "
            f"({self.usage_percentage:.1f}%)"
        )


class UsageSums(Document):
    """What sessions came to. A session is managed or BYOK by the model of its first answer."""

    sessions: int = 0
    managed_sessions: int = 0
    byok_sessions: int = 0
    messages: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class UsagePart(UsageSums):
    """The part of a span that counts under one name; ``None`` is all the smallest together."""

    name: str | None = None


class UsagePoint(UsageSums):
    """One span of a history, up to before ``end``; nothing starts in a complete one any more."""

    start: date
    end: date
    complete: bool = False
    managed_messages: int = 0
    byok_messages: int = 0
    breakdown: list[UsagePart] = Field(default_factory=list)


class UsageHistory(Document):
    """What was used, span by span, the oldest first."""

    granularity: str
    as_of: datetime
    series: list[UsagePoint] = Field(default_factory=list)
    totals: UsageSums = Field(default_factory=UsageSums)

    @property
    def first(self) -> date:
        """The first day."""
        return date.fromisoformat(self["from"])

    @property
    def last(self) -> date:
        """The last day, included."""
        return date.fromisoformat(self["to"])

    def __iter__(self) -> Iterator[UsagePoint]:  # type: ignore[override]
        return iter(self.series)


class Interval(Document):
    """Between what something will be, as often as ``confidence`` says."""

    low: int
    high: int
    confidence: float = 0.8


class DayAhead(Document):
    """The sessions of the period that are expected by the end of a day."""

    day: date
    expected: int
    low: int
    high: int


class Forecast(Document):
    """How many sessions the present period is heading for.

    Attributes
    ----------
    projected_sessions
        Those counted so far included. The limit does not bound it: only that many can start.
    method
        ``weekday_pattern``, ``straight_line``, or ``so_far`` where there is nothing to go on.
    limit_reached_at
        When all sessions are expected to be used; ``None`` where they last.
    days
        The days to come, today first.
    """

    period: str
    as_of: datetime
    sessions_used: int
    sessions_limit: int
    projected_sessions: int
    interval: Interval
    method: str
    explanation: str
    limit_reached_at: datetime | None = None
    days: list[DayAhead] = Field(default_factory=list)

    @property
    def limit_in_sight(self) -> bool:
        """Whether all sessions are expected to be used before the quota resets."""
        return self.limit_reached_at is not None

    def __str__(self) -> str:
        return (
            f"{self.period}: about {self.projected_sessions:,} sessions "
            f"({self.interval.low:,} to {self.interval.high:,})"
        )


class Recommendation(Document):
    """A piece of advice.

    Attributes
    ----------
    type
        ``limit_soon``, ``cheapest_plan``, ``plan_optimization`` or ``cost_reduction``.
    potential_savings
        US dollars a month, at least.
    suggested_tier
        Where to move; ``None`` where the present plan will do.
    details
        The numbers behind it.
    """

    type: str
    message: str
    potential_savings: Money = Money(0)
    suggested_tier: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


class Recommendations(Document):
    """How to pay less, and when the limit is reached; the most pressing first."""

    period: str
    as_of: datetime
    recommendations: list[Recommendation] = Field(default_factory=list)

    def __iter__(self) -> Iterator[Recommendation]:  # type: ignore[override]
        return iter(self.recommendations)


class TierInfo(Document):
    """What the subscription includes."""

    tier: str
    current_tier: str
    session_limit: int
    can_use_managed: bool
    price_per_month: Money = Money(0)

    @property
    def upgrade_available(self) -> bool:
        """Whether there is a larger plan."""
        return self.tier != "enterprise"


class Plan(Document):
    """A plan on offer. Prices are US dollars a month."""

    tier: str
    price_per_month: Money
    sessions_per_month: int
    managed_models: bool
    byok: str
    support: str
    extras: list[str] = Field(default_factory=list)


# --- billing ------------------------------------------------------------------------------------


class PendingChange(Document):
    """What waits for the end of a period, and what takes over after it, if anything does."""

    tier: str
    effective_at: datetime | None = None
    followed_by: PendingChange | None = None


class Subscription(Document):
    """What the customer has bought, and what waits for the next period."""

    tier: str
    session_limit: int | None = None
    price_usd: Money | None = None
    pending_change: PendingChange | None = None


class Statement(Document):
    """The statement of one closed period."""

    period: str
    tier: str | None = None
    sessions_used: int | None = None
    session_limit: int | None = None
    total: Money | None = None


class StatementPage(Document):
    """Some statements, newest first, and where the next ones begin."""

    statements: list[Statement] = Field(default_factory=list)
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[Statement]:  # type: ignore[override]
        return iter(self.statements)

    @property
    def rows(self) -> list[Statement]:
        """What is on the page."""
        return self.statements


class Spending(Document):
    """What a period has cost so far.

    ``byok_estimate`` is for your own providers at list prices, without ``unpriced_models``.
    """

    plan: Money
    byok_estimate: Money
    total: Money
    unpriced_models: list[str] = Field(default_factory=list)


class Budget(Document):
    """The limits that you set yourself, and where you stand.

    Attributes
    ----------
    monthly_ceiling, session_turn_cap, session_token_cap
        ``None`` where there is no such limit.
    action
        ``warn`` or ``block``: what reaching the ceiling does.
    notice
        What to think about, where the ceiling may not be what was meant.
    """

    monthly_ceiling: Money | None = None
    action: str | None = None
    session_turn_cap: int | None = None
    session_token_cap: int | None = None
    period: str | None = None
    resets_at: datetime | None = None
    spent: Spending | None = None
    reached: bool = False
    notice: str | None = None


class Alert(Document):
    """A share of the period's sessions that was reached: ``threshold`` percent of them."""

    id: str
    threshold: int
    at: datetime | None = None
    sessions_used: int | None = None
    sessions_limit: int | None = None


class Alerts(Document):
    """At which shares of the limit there is an alert, and the alerts of the present period.

    Attributes
    ----------
    email
        Where mail about them goes; ``None`` where none is sent.
    """

    thresholds: list[int] = Field(default_factory=list)
    email: str | None = None
    period: str | None = None
    alerts: list[Alert] = Field(default_factory=list)
    webhook: Webhook | None = None


class StoredCredential(Document):
    """Credentials that FlowStack keeps for a provider; their values come back masked only.

    ``last_used_at`` is exact to the hour.
    """

    provider: str
    credentials: dict[str, str] = Field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_used_at: datetime | None = None


# --- webhooks -----------------------------------------------------------------------------------


class Webhook(Document):
    """Where events are delivered.

    ``secret`` is there only when it was made just now, and is not printed. Until
    ``old_secrets_until`` an old one signs too; with ``switched_off_at`` nothing is sent.
    """

    url: str
    secret: str | None = Field(default=None, repr=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    switched_off_at: datetime | None = None
    old_secrets_until: datetime | None = None


class WebhookAttempt(Document):
    """One attempt: the ``status`` of the answer, if there was one, and why it is no success."""

    at: datetime
    status: int | None = None
    reason: str | None = None


class WebhookDelivery(Document):
    """Where the delivery of an event stands: ``pending``, ``delivered`` or ``failed``.

    ``payload`` and ``attempt_log`` are there where one delivery was asked for.
    """

    event_id: str
    type: str
    status: str
    reason: str | None = None
    created_at: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    last_attempt: WebhookAttempt | None = None
    payload: dict[str, Any] | None = None
    attempt_log: list[WebhookAttempt] = Field(default_factory=list)


class WebhookDeliveryPage(Document):
    """Some deliveries, newest first, and where the next ones begin."""

    deliveries: list[WebhookDelivery] = Field(default_factory=list)
    next_cursor: str | None = None

    @property
    def rows(self) -> list[WebhookDelivery]:
        """What is on the page."""
        return self.deliveries
