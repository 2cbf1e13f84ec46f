"""Reading statements: page by page, newest first, as documents or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flowstack_core.domain.errors import InvalidRequestError, NotFoundError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.statements import Statement, dollars
from flowstack_core.services.ports.closing import StatementStore

CSV_COLUMNS = (
    "statement_id",
    "customer_id",
    "period",
    "closed_at",
    "line",
    "kind",
    "line_period",
    "description",
    "sessions",
    "amount",
    "currency",
    "sessions_used",
    "session_limit",
    "managed_sessions",
    "byok_sessions",
    "credited_sessions",
    "total",
)
"""One row a line; what is said of the whole statement stands in each of its rows."""


@dataclass(frozen=True, slots=True)
class StatementPage:
    """Some statements, and where the older ones begin."""

    statements: tuple[Statement, ...]
    next_cursor: str | None


class StatementService:
    """Shows statements. They are written by `flowstack_core.services.closing`."""

    def __init__(self, statements: StatementStore) -> None:
        self._statements = statements

    def history(self, customer_id: str, limit: int, cursor: str | None) -> StatementPage:
        """Return the newest statements first, those older than the cursor's if there is one.

        Raises
        ------
        InvalidRequestError
            The cursor is not one that an earlier page gave.
        """
        before = None if cursor is None else _period_of(cursor)
        # One more than asked for tells whether there is a next page.
        found = self._statements.statements(customer_id, limit + 1, before)
        page = tuple(found[:limit])
        return StatementPage(page, page[-1].period.name if len(found) > limit else None)

    def statement(self, customer_id: str, period: Period) -> Statement:
        """Return the statement of a period.

        Raises
        ------
        NotFoundError
            The period is not closed, or the customer did not exist then.
        """
        found = self._statements.statement(customer_id, period)
        if found is None:
            raise NotFoundError(
                f"There is no statement of {period}.",
                details={
                    "period": period.name,
                    "hint": "A statement is written when its period has ended.",
                },
            )
        return found


def statements_csv(documents: Iterable[Mapping[str, Any]]) -> str:
    """Write statement documents as CSV (RFC 4180), one row a line of a statement.

    Amounts are written in dollars with two decimals, from integer cents.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for document in documents:
        whole = {**document, "total": dollars(document["total_cents"])}
        for number, line in enumerate(document["lines"], start=1):
            row = {
                **whole,
                **line,
                "period": document["period"],
                "line": number,
                "line_period": line["period"],
                "amount": dollars(line["amount_cents"]),
            }
            writer.writerow([row[column] for column in CSV_COLUMNS])
    return text.getvalue()


def _period_of(cursor: str) -> Period:
    try:
        return Period.parse(cursor)
    except ValueError as error:
        raise InvalidRequestError(
            "The cursor is not one that a page of statements gave.",
            details={"field": "cursor", "hint": "Leave it out to begin with the newest."},
        ) from error
