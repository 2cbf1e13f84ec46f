"""What a customer used, day by day, week by week, month by month. Reads rollups only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from flowstack_core.domain.errors import NotFoundError, QueryTooLargeError, TierLimitationError
from flowstack_core.domain.history import (
    Dimension,
    Granularity,
    NamedPart,
    Span,
    broken_down,
    spans,
    summed,
)
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import DaySlice, DayTotal
from flowstack_core.services.ports.accounts import SubscriptionReader
from flowstack_core.services.ports.rollups import RollupReader
from flowstack_core.services.ports.surroundings import CustomerClocks

MOST_SLICES = 50_000
"""How many slices are put together for one answer: what one request has time for."""

Part = TypeVar("Part", DayTotal, DaySlice)

_A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What is asked for.

    Attributes
    ----------
    first, last
        Days, both included; by default the present period so far.
    by
        What the spans are broken down by, if by anything.
    """

    granularity: Granularity = Granularity.DAILY
    first: date | None = None
    last: date | None = None
    by: Dimension | None = None


class HistoryService:
    """Answers questions about the past."""

    def __init__(
        self, rollups: RollupReader, subscriptions: SubscriptionReader, clocks: CustomerClocks
    ) -> None:
        self._rollups = rollups
        self._subscriptions = subscriptions
        self._clocks = clocks

    def own_document(self, customer_id: str, query: HistoryQuery) -> dict[str, Any]:
        """Render ``GET /usage/history`` for the customer: breakdowns from professional up.

        Raises
        ------
        TierLimitationError
            Its tier has no breakdowns (P4).
        """
        if query.by is not None:
            self._check_tier(customer_id)
        return self.document(customer_id, query)

    def document(self, customer_id: str, query: HistoryQuery) -> dict[str, Any]:
        """Render a history as an operator sees it."""
        now = self._clocks.for_customer(customer_id).now()
        found = self._spans(query, now)
        first, last = found[0].start, found[-1].end - _A_DAY
        totals = list(self._rollups.days(customer_id, first, last))
        series = [
            _point(span, part, now)
            for span, part in zip(found, _by_span(found, totals), strict=True)
        ]
        if query.by is not None:
            slices = self._slices(customer_id, first, last)
            for point, parts in zip(series, _by_span(found, slices), strict=True):
                named = broken_down(query.by, parts)
                point["breakdown"] = [_part_document(part) for part in named]
        return {
            "granularity": query.granularity.value,
            "from": str(first),
            "to": str(last),
            "as_of": instant(now),
            "series": series,
            "totals": _sums(summed(first, totals)),
        }

    def _spans(self, query: HistoryQuery, now: datetime) -> Sequence[Span]:
        """Return the spans that are asked for, by default the last day's period up to that day."""
        latest = (Period.containing(now).end - _A_DAY).date()
        last = query.last or now.date()
        first = query.first or last.replace(day=1)
        return spans(query.granularity, first, last, latest=latest)

    def _slices(self, customer_id: str, first: date, last: date) -> list[DaySlice]:
        slices = list(islice(self._rollups.slices(customer_id, first, last), MOST_SLICES + 1))
        if len(slices) > MOST_SLICES:
            raise QueryTooLargeError(
                "There are too many agents and models in these days for one answer.",
                details={"maximum": MOST_SLICES, "hint": "Ask for fewer days at a time."},
            )
        return slices

    def _check_tier(self, customer_id: str) -> None:
        subscription = self._subscriptions.subscription(customer_id)
        if subscription is None:
            raise NotFoundError("There is no such customer.", details={"customer_id": customer_id})
        now = self._clocks.for_customer(customer_id).now()
        tier = subscription.terms_in(Period.containing(now)).tier
        if tier.rank < Tier.PROFESSIONAL.rank:
            raise TierLimitationError(
                f"Usage by agent, provider and model is not available on the {tier} tier.",
                details={
                    "tier": tier.value,
                    "feature": "usage breakdowns",
                    "hint": "Leave out `by`, or upgrade the plan to professional.",
                },
            )


def _by_span(found: Sequence[Span], parts: Iterable[Part]) -> list[list[Part]]:
    """Return what is in each of the spans, which follow each other without a gap."""
    starts = [span.start for span in found]
    sorted_in: list[list[Part]] = [[] for _ in found]
    for part in parts:
        sorted_in[bisect_right(starts, part.day) - 1].append(part)
    return sorted_in


def _point(span: Span, totals: Iterable[DayTotal], now: datetime) -> dict[str, Any]:
    return {
        "start": str(span.start),
        "end": str(span.end),
        **_sums(summed(span.start, totals)),
        "complete": span.end <= now.date(),
    }


def _sums(total: DayTotal) -> dict[str, int]:
    return {
        "sessions": total.sessions,
        "managed_sessions": total.managed_sessions,
        "byok_sessions": total.byok_sessions,
        "messages": total.talk.messages,
        "managed_messages": total.managed.messages,
        "byok_messages": total.byok.messages,
        "input_tokens": total.talk.input_tokens,
        "output_tokens": total.talk.output_tokens,
    }


def _part_document(part: NamedPart) -> dict[str, Any]:
    return {
        "name": part.name,
        "managed_sessions": part.managed_sessions,
        "byok_sessions": part.byok_sessions,
        "sessions": part.sessions,
        "messages": part.talk.messages,
        "input_tokens": part.talk.input_tokens,
        "output_tokens": part.talk.output_tokens,
    }
