"""What is asked for in the query string of a usage history, by customers and operators alike."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.history import Dimension, Granularity
from flowstack_core.services.history import HistoryQuery

_DAY = r"^\d{4}-\d{2}-\d{2}$"

Spans = Annotated[Granularity, Query(description="How long the spans are.")]
FirstDay = Annotated[
    str | None,
    Query(alias="from", pattern=_DAY, description="The first day; by default that of its period."),
]
LastDay = Annotated[
    str | None, Query(alias="to", pattern=_DAY, description="The last day; by default today.")
]
BrokenDown = Annotated[
    Dimension | None, Query(description="What to break the spans down by; from professional up.")
]


def history_query(
    granularity: Granularity, first: str | None, last: str | None, by: Dimension | None
) -> HistoryQuery:
    """Return what is asked for.

    Raises
    ------
    InvalidRequestError
        If there is no such day.
    """
    return HistoryQuery(granularity, _day("from", first), _day("to", last), by)


def _day(field: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequestError(
            f"{field}: there is no day {text}.", details={"field": field}
        ) from error
