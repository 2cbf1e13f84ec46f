"""``docs/benchmarks-forecast.md`` says how good forecasts are."""

from __future__ import annotations

from tests.bench.forecasts import PAGE, rendered


def test_the_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == rendered(), "run: python -m tests.bench.forecasts"
