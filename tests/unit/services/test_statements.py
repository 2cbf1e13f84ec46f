"""Reading statements: page by page and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.errors import InvalidRequestError, NotFoundError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.statements import Line, LineKind, Statement, draft_statement
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.services.documents import statement_document
from flowstack_core.services.statements import CSV_COLUMNS, statements_csv
from tests.support.fakes import DECEMBER, NOVEMBER, World


def after_months(months: int) -> World:
    """Return a world whose customer has that many statements."""
    world = World()
    world.subscribe()
    for _ in range(months):
        world.clock.move_to(Period.containing(world.clock.now()).end)
    assert world.closing_service.close_due("cus_1") == months
    return world


def statement(*lines: Line) -> Statement:
    usage = PeriodUsage.opened(Subscription("cus_1", Terms.of(Tier.STARTER)), NOVEMBER)
    drafted = draft_statement(usage, {}, None, DECEMBER.start)
    return replace(drafted, lines=lines) if lines else drafted


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
def test_pages_hold_every_statement_once_the_newest_first(limit: int) -> None:
    world = after_months(5)
    found, cursor = [], None
    while True:
        page = world.statement_service.history("cus_1", limit, cursor)
        assert len(page.statements) <= limit
        found += [one.period.name for one in page.statements]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ["2027-03", "2027-02", "2027-01", "2026-12", "2026-11"]


def test_a_full_last_page_has_no_next_one() -> None:
    assert after_months(2).statement_service.history("cus_1", 2, None).next_cursor is None


def test_a_page_goes_on_where_it_began_though_another_month_was_closed() -> None:
    world = after_months(3)
    cursor = world.statement_service.history("cus_1", 1, None).next_cursor
    world.clock.move_to(Period.containing(world.clock.now()).end)
    world.closing_service.close_due("cus_1")
    page = world.statement_service.history("cus_1", 5, cursor)
    assert [one.period.name for one in page.statements] == ["2026-12", "2026-11"]


@pytest.mark.parametrize("cursor", ["", "yesterday", "2026-13", "2026-1", "2026-11-01", "x" * 99])
def test_a_cursor_is_one_that_a_page_gave(cursor: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        after_months(1).statement_service.history("cus_1", 5, cursor)
    assert refused.value.details["field"] == "cursor"


def test_a_period_that_is_not_closed_has_no_statement() -> None:
    service = after_months(1).statement_service
    assert service.statement("cus_1", NOVEMBER).period == NOVEMBER
    for customer_id, period in (("cus_1", DECEMBER), ("cus_2", NOVEMBER)):
        with pytest.raises(NotFoundError):
            service.statement(customer_id, period)


def test_csv_without_statements_is_its_header() -> None:
    assert statements_csv([]) == ",".join(CSV_COLUMNS) + "\r\n"


def test_csv_has_a_row_a_line_and_repeats_what_is_said_of_the_whole() -> None:
    late = Line(LineKind.LATE_RELEASE, NOVEMBER.previous(), "Sessions taken back", -2, 0)
    found = statement(*statement().lines, late)
    text = statements_csv([statement_document(found)])
    assert text.count("\r\n") == text.count("\n") == 3
    rows = rows_of(text)
    assert [(row["line"], row["kind"], row["line_period"], row["sessions"]) for row in rows] == [
        ("1", "plan", "2026-11", "1000"),
        ("2", "late_release", "2026-10", "-2"),
    ]
    assert {(row["period"], row["total"], row["currency"]) for row in rows} == {
        ("2026-11", "29.00", "USD")
    }


def test_csv_quotes_what_needs_it() -> None:
    text = 'Sessions, "credited"\nby hand'
    line = Line(LineKind.SESSION_CREDIT, NOVEMBER, text, 1, 0)
    (row,) = rows_of(statements_csv([statement_document(statement(line))]))
    assert row["description"] == text


@given(amounts=st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=5))
def test_p5_csv_states_amounts_to_the_cent(amounts: list[int]) -> None:
    """Integers beyond what a binary float holds keep their cents."""
    lines = [Line(LineKind.PLAN, NOVEMBER, "Plan", 1, cents) for cents in amounts]
    rows = rows_of(statements_csv([statement_document(statement(*lines))]))
    assert [int(row["amount"].replace(".", "")) for row in rows] == amounts
    assert {int(row["total"].replace(".", "")) for row in rows} == {sum(amounts)}
    assert all(row["amount"][-3] == "." for row in rows)
