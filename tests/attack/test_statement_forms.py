"""Statements as files: no cell of the CSV is a formula, nothing on the page is markup.

Nothing that a customer writes is on a statement today. These tests are for the day on which
something is: a customer's name, say, which a spreadsheet would run and a browser would load.
"""

from __future__ import annotations

import csv
import io
from dataclasses import fields, replace

import pytest

from flowstack_core.domain.statements import Statement, draft_statement
from flowstack_core.http.statement_page import statement_page
from flowstack_core.services.documents import statement_document
from flowstack_core.services.statements import statements_csv
from tests.attack.hostile import TEXTS
from tests.support.fakes import DECEMBER, NOVEMBER
from tests.unit.domain.test_statements import counter

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
WRITTEN_BY_US = {"customer_id", "period", "closed_at", "tiers", "lines", "adjustments"} | {
    *("sessions_used", "session_limit", "managed_sessions", "credited_sessions", "plan_change"),
}


def statement() -> Statement:
    usage = counter(sessions_used=7, session_limit=1_005, credited_sessions=5)
    return draft_statement(usage, {NOVEMBER.previous(): -2}, None, DECEMBER.start)


def test_a_statement_says_nothing_that_a_customer_wrote() -> None:
    """Whoever adds a field that says what a customer wrote has to escape it in the CSV."""
    assert {field.name for field in fields(Statement)} == WRITTEN_BY_US


def test_no_cell_is_a_formula() -> None:
    text = statements_csv([statement_document(statement())])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len(rows) == 4
    for cell in (cell for row in rows for cell in row):
        if cell.startswith(FORMULAS):
            assert float(cell) < 0, cell
        assert "\n" not in cell


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_is_markup_on_the_page(name: str) -> None:
    text = TEXTS[name]
    plain = statement()
    first, *others = plain.lines
    page = statement_page(replace(plain, lines=(replace(first, description=text), *others)))
    usual = statement_page(plain)
    for mark in ("<", ">", '"', "'"):
        assert page.count(mark) == usual.count(mark), mark
