"""Usage, statements and the subscription, as the customer sees and changes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Literal, TypedDict, Unpack

from flowstack.documents import (
    Alerts,
    Budget,
    Document,
    Forecast,
    Plan,
    Recommendations,
    Statement,
    StatementPage,
    StoredCredential,
    Subscription,
    TierInfo,
    UsageHistory,
    UsageStats,
)
from flowstack.exceptions import NotFoundError
from flowstack.money import Money
from flowstack.operations import Operation, present, segment
from flowstack.paging import each, each_async
from flowstack.transport import AsyncClient, Client, Endpoint

__all__ = ["AsyncBillingManager", "BillingManager", "UsageStats"]

Granularity = Literal["daily", "weekly", "monthly"]
Dimension = Literal["agent", "provider", "model"]
Change = Literal["downgrade", "cancel", "undo"]


class BudgetSettings(TypedDict, total=False):
    """What `set_budget` changes; what is left out stays, and ``None`` takes a limit away.

    Attributes
    ----------
    monthly_ceiling
        The most that a month may cost, in dollars.
    action
        Whether reaching it only warns, or keeps new sessions from starting too.
    session_turn_cap, session_token_cap
        How many messages, and how many tokens, one session may take.
    """

    monthly_ceiling: Money | float | None
    action: Literal["warn", "block"]
    session_turn_cap: int | None
    session_token_cap: int | None


class AlertSettings(TypedDict, total=False):
    """What `set_alerts` changes; what is left out stays.

    Attributes
    ----------
    thresholds
        Whole percents of the session limit.
    email
        Where mail about alerts goes, ``None`` for no mail.
    """

    thresholds: Sequence[int]
    email: str | None


class BillingManager:
    """What there is to know and to change about money.

    An agent has one as ``agent.billing``; on its own it takes the key and the address.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        client: Client | None = None,
    ) -> None:
        self._client = client or Client(Endpoint.find(api_key, base_url, allow_http=False))

    def usage(self) -> UsageStats:
        """Return how many sessions are used and left."""
        return self._client.run(usage())

    def tier_info(self) -> TierInfo:
        """Return what the subscription includes."""
        return self._client.run(tier_info())

    def plans(self) -> list[Plan]:
        """Return the plans on offer."""
        return self._client.run(plans())

    def usage_history(
        self,
        granularity: Granularity = "daily",
        *,
        first: date | None = None,
        last: date | None = None,
        by: Dimension | None = None,
    ) -> UsageHistory:
        """Return what was used by day, week or month; by default in the present period.

        Parameters
        ----------
        first, last
            Days, both included; weeks and months are shown whole.
        by
            Also the parts of each span; from the professional tier up.
        """
        return self._client.run(usage_history(granularity, first, last, by))

    def daily_usage(self) -> UsageHistory:
        """Return the sessions of each day of the present period."""
        return self.usage_history()

    def forecast(self) -> Forecast:
        """Return how many sessions the period is heading for."""
        return self._client.run(forecast())

    def recommendations(self) -> Recommendations:
        """Return how to pay less, and when the limit is reached."""
        return self._client.run(recommendations())

    def history(self, limit: int | None = None) -> Iterator[Statement]:
        """Yield the statements of closed periods, newest first; pages are read as needed.

        Parameters
        ----------
        limit
            How many at most; all, where it is not given.
        """
        return each(self._client, statements, limit)

    def statement(self, period: str) -> Statement:
        """Return the statement of one closed period, such as ``2026-10``."""
        return self._client.run(statement(period))

    def history_csv(self, limit: int | None = None) -> str:
        """Return the statements of closed periods as CSV, newest first."""
        return self._client.run(statements_csv(limit))

    def subscription(self) -> Subscription:
        """Return what was bought, and what waits for the next period."""
        return self._client.run(subscription())

    def downgrade(self, tier: str) -> Subscription:
        """Move to a smaller tier when the period ends; `undo` takes it back until then."""
        return self._client.run(change("downgrade", tier))

    def cancel(self) -> Subscription:
        """Cancel when the period ends; `undo` takes it back until then."""
        return self._client.run(change("cancel"))

    def undo(self) -> Subscription:
        """Take back a downgrade or a cancellation that still waits."""
        return self._client.run(change("undo"))

    def preview(self, action: Change, tier: str | None = None) -> Document:
        """Return what a change would do, without doing it."""
        return self._client.run(preview(action, tier))

    def alerts(self) -> Alerts:
        """Return at which shares of the limit there is an alert, and this period's alerts."""
        return self._client.run(alerts())

    def set_alerts(self, **settings: Unpack[AlertSettings]) -> Alerts:
        """Change the settings of alerts, such as ``thresholds=[75, 90]``; others stay."""
        return self._client.run(set_alerts(settings))

    def budget(self) -> Budget:
        """Return the limits that you set yourself, and what the month has cost so far."""
        return self._client.run(budget())

    def set_budget(self, **settings: Unpack[BudgetSettings]) -> Budget:
        """Change them, such as ``monthly_ceiling=50``; others stay, ``None`` takes one away."""
        return self._client.run(set_budget(settings))

    def store_byok_credentials(self, provider: str, credentials: Mapping[str, str]) -> bool:
        """Store your own credentials at a provider, encrypted; they never come back."""
        return self._client.run(store_credentials(provider, credentials))

    def list_byok_credentials(self) -> list[StoredCredential]:
        """Return for which providers credentials are stored, masked."""
        return self._client.run(list_credentials())

    def delete_byok_credentials(self, provider: str) -> bool:
        """Forget the credentials at a provider; tell whether there were any."""
        try:
            return self._client.run(delete_credentials(provider))
        except NotFoundError:
            return False

    # What programs written for version 1 call:

    def get_usage_stats(self) -> UsageStats:
        """Return `usage`, by its name in version 1."""
        return self.usage()

    def get_tier_info(self) -> TierInfo:
        """Return `tier_info`, by its name in version 1."""
        return self.tier_info()

    def get_billing_history(self, limit: int = 10) -> StatementPage:
        """Return the newest statements as one page; `history` reads on by itself."""
        return self._client.run(statements(limit, None))

    def can_make_request(self) -> tuple[bool, str]:
        """Return whether another session can start, and why."""
        stats = self.usage()
        return stats.can_make_requests, stats.reason or str(stats)


class AsyncBillingManager:
    """`BillingManager` for coroutines."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def usage(self) -> UsageStats:
        """Return how many sessions are used and left."""
        return await self._client.run(usage())

    async def tier_info(self) -> TierInfo:
        """Return what the subscription includes."""
        return await self._client.run(tier_info())

    async def plans(self) -> list[Plan]:
        """Return the plans on offer."""
        return await self._client.run(plans())

    async def usage_history(
        self,
        granularity: Granularity = "daily",
        *,
        first: date | None = None,
        last: date | None = None,
        by: Dimension | None = None,
    ) -> UsageHistory:
        """Return what was used by day, week or month; by default in the present period.

        Parameters
        ----------
        first, last
            Days, both included; weeks and months are shown whole.
        by
            Also the parts of each span; from the professional tier up.
        """
        return await self._client.run(usage_history(granularity, first, last, by))

    async def daily_usage(self) -> UsageHistory:
        """Return the sessions of each day of the present period."""
        return await self.usage_history()

    async def forecast(self) -> Forecast:
        """Return how many sessions the period is heading for."""
        return await self._client.run(forecast())

    async def recommendations(self) -> Recommendations:
        """Return how to pay less, and when the limit is reached."""
        return await self._client.run(recommendations())

    def history(self, limit: int | None = None) -> AsyncIterator[Statement]:
        """Yield the statements of closed periods, newest first; pages are read as needed."""
        return each_async(self._client, statements, limit)

    async def statement(self, period: str) -> Statement:
        """Return the statement of one closed period, such as ``2026-10``."""
        return await self._client.run(statement(period))

    async def history_csv(self, limit: int | None = None) -> str:
        """Return the statements of closed periods as CSV, newest first."""
        return await self._client.run(statements_csv(limit))

    async def subscription(self) -> Subscription:
        """Return what was bought, and what waits for the next period."""
        return await self._client.run(subscription())

    async def downgrade(self, tier: str) -> Subscription:
        """Move to a smaller tier when the period ends; `undo` takes it back until then."""
        return await self._client.run(change("downgrade", tier))

    async def cancel(self) -> Subscription:
        """Cancel when the period ends; `undo` takes it back until then."""
        return await self._client.run(change("cancel"))

    async def undo(self) -> Subscription:
        """Take back a downgrade or a cancellation that still waits."""
        return await self._client.run(change("undo"))

    async def preview(self, action: Change, tier: str | None = None) -> Document:
        """Return what a change would do, without doing it."""
        return await self._client.run(preview(action, tier))

    async def alerts(self) -> Alerts:
        """Return at which shares of the limit there is an alert, and this period's alerts."""
        return await self._client.run(alerts())

    async def set_alerts(self, **settings: Unpack[AlertSettings]) -> Alerts:
        """Change the settings of alerts, such as ``thresholds=[75, 90]``; others stay."""
        return await self._client.run(set_alerts(settings))

    async def budget(self) -> Budget:
        """Return the limits that you set yourself, and what the month has cost so far."""
        return await self._client.run(budget())

    async def set_budget(self, **settings: Unpack[BudgetSettings]) -> Budget:
        """Change them, such as ``monthly_ceiling=50``; others stay, ``None`` takes one away."""
        return await self._client.run(set_budget(settings))

    async def store_byok_credentials(self, provider: str, credentials: Mapping[str, str]) -> bool:
        """Store your own credentials at a provider, encrypted; they never come back."""
        return await self._client.run(store_credentials(provider, credentials))

    async def list_byok_credentials(self) -> list[StoredCredential]:
        """Return for which providers credentials are stored, masked."""
        return await self._client.run(list_credentials())

    async def delete_byok_credentials(self, provider: str) -> bool:
        """Forget the credentials at a provider; tell whether there were any."""
        try:
            return await self._client.run(delete_credentials(provider))
        except NotFoundError:
            return False


# --- what is asked ------------------------------------------------------------------------------


def usage() -> Operation[UsageStats]:
    """Return the operation behind ``GET /usage``."""
    return Operation("GET", "/usage", UsageStats.of)


def tier_info() -> Operation[TierInfo]:
    """Return the operation behind ``GET /tier-info``."""
    return Operation("GET", "/tier-info", TierInfo.model_validate)


def plans() -> Operation[list[Plan]]:
    """Return the operation behind ``GET /pricing``."""
    return Operation(
        "GET", "/pricing", lambda found: [Plan.model_validate(plan) for plan in found["plans"]]
    )


def usage_history(
    granularity: Granularity, first: date | None, last: date | None, by: Dimension | None
) -> Operation[UsageHistory]:
    """Return the operation behind ``GET /usage/history``."""
    days = {"from": first and str(first), "to": last and str(last)}
    query = present(granularity=granularity, by=by, **days)
    return Operation("GET", "/usage/history", UsageHistory.model_validate, query=query)


def forecast() -> Operation[Forecast]:
    """Return the operation behind ``GET /usage/forecast``."""
    return Operation("GET", "/usage/forecast", Forecast.model_validate)


def recommendations() -> Operation[Recommendations]:
    """Return the operation behind ``GET /usage/recommendations``."""
    return Operation("GET", "/usage/recommendations", Recommendations.model_validate)


def statements(limit: int, cursor: str | None) -> Operation[StatementPage]:
    """Return the operation behind ``GET /api/billing/history``."""
    query = present(limit=str(limit), cursor=cursor)
    return Operation("GET", "/api/billing/history", StatementPage.model_validate, query=query)


def statement(period: str) -> Operation[Statement]:
    """Return the operation behind ``GET /api/billing/history/{period}``."""
    return Operation(
        "GET",
        f"/api/billing/history/{segment(period)}",
        lambda found: Statement.model_validate(found["statement"]),
    )


def statements_csv(limit: int | None) -> Operation[str]:
    """Return the operation behind ``GET /api/billing/history`` for spreadsheets."""
    query = present(limit=None if limit is None else str(limit))
    return Operation("GET", "/api/billing/history", str, query=query, accept="text/csv")


def subscription() -> Operation[Subscription]:
    """Return the operation behind ``GET /subscription``."""
    return Operation("GET", "/subscription", _subscription)


def change(action: Change, tier: str | None = None) -> Operation[Subscription]:
    """Return the operation behind ``POST /subscription``: again, it changes nothing more."""
    return Operation("POST", "/subscription", _subscription, body=present(action=action, tier=tier))


def preview(action: Change, tier: str | None = None) -> Operation[Document]:
    """Return the operation that tells what `change` would do."""
    return Operation(
        "POST",
        "/subscription",
        lambda found: Document.model_validate(found["preview"]),
        body=present(action=action, tier=tier),
        query={"preview": "true"},
    )


def alerts() -> Operation[Alerts]:
    """Return the operation behind ``GET /alerts``."""
    return Operation("GET", "/alerts", Alerts.model_validate)


def set_alerts(settings: AlertSettings) -> Operation[Alerts]:
    """Return the operation behind ``PUT /alerts``."""
    return Operation("PUT", "/alerts", Alerts.model_validate, body=settings)


def budget() -> Operation[Budget]:
    """Return the operation behind ``GET /budget``."""
    return Operation("GET", "/budget", Budget.model_validate)


def set_budget(settings: BudgetSettings) -> Operation[Budget]:
    """Return the operation behind ``PUT /budget``."""
    return Operation("PUT", "/budget", Budget.model_validate, body=settings)


def store_credentials(provider: str, credentials: Mapping[str, str]) -> Operation[bool]:
    """Return the operation behind ``POST /api/byok-credentials``."""
    return Operation(
        "POST",
        "/api/byok-credentials",
        _done,
        body={"provider": provider, "credentials": dict(credentials)},
    )


def list_credentials() -> Operation[list[StoredCredential]]:
    """Return the operation behind ``GET /api/byok-credentials``."""
    return Operation(
        "GET",
        "/api/byok-credentials",
        lambda found: [StoredCredential.model_validate(each) for each in found["credentials"]],
    )


def delete_credentials(provider: str) -> Operation[bool]:
    """Return the operation behind ``DELETE /api/byok-credentials/{provider}``."""
    return Operation("DELETE", f"/api/byok-credentials/{segment(provider)}", _done)


def _subscription(document: Mapping[str, Any]) -> Subscription:
    return Subscription.model_validate(document["subscription"])


def _done(_: object) -> bool:
    return True
