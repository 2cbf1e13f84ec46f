"""How good forecasts are: ``python -m tests.bench.forecasts``.

Nothing here depends on the machine: a test holds the page to what this finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from flowstack_core.domain.forecast import CONFIDENCE
from tests.support.daily_series import (
    FORECAST_ON,
    RECORDED,
    SHAPES,
    Score,
    Series,
    made_up,
    recorded,
    score,
)
from tests.support.emulator import ROOT

PAGE = ROOT / "docs/benchmarks-forecast.md"

_SEEDS = 6

_INTRODUCTION = f"""# How good forecasts are

`GET /usage/forecast` tells where a period is heading ([why so](decisions/0024-forecasts.md)). Here
it is set beside what happened: at noon of days {", ".join(map(str, FORECAST_ON))} of each whole
month that has eight weeks before it, the total of the month is forecast from what was known then.
`make bench`, or `python -m tests.bench.forecasts` alone, writes this page anew; it is the same on
every machine, and a test holds it to that.

Errors are the mean of |forecast - total| / total, in percent. The straight line is the count so
far, carried on at the same pace. "4 weeks" is the count so far, with the mean of the last four
weeks for every day to come: what history gives without weekdays. Covered is how many of 100 totals
were within the interval, which says {CONFIDENCE * 100:.0f}.
"""

_RECORDED = """## On what was recorded

Where the days come from: `tests/bench/series/README.md`. None of them are sessions of agents, of
which nobody publishes any.
"""

_MADE_UP = f"""## On what is made up

{_SEEDS} years of each shape, with days that scatter by 15 % and by chance.
"""

_READING = """## What to make of it

- Early in the month the past is worth most. On day 25 most of the month is counted, and every way
  of guessing the rest is good.
- Weekdays matter where months end in the middle of a week and weekends are quiet. Over whole weeks
  they even out, and the mean of four weeks does nearly as well on what does not change.
- It expects no holidays and no seasons, and follows a trend by the pace of recent weeks only. So
  what grows by 15 % a month, or with the spring (rides), is underestimated, and is outside the
  interval more often than the interval says.
- What depends on news (page views) is beyond any pattern: no better than a straight line, and the
  interval is wide, and still too narrow.
- With two or three sessions a week a few more or fewer are much in percent.
- The constants of the method were chosen looking at such series, these among them. On others it
  may do worse.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(rendered(), encoding="utf-8")
    print(f"bench: wrote {PAGE.relative_to(ROOT)}")


def rendered() -> str:
    """Return the page."""
    measured = [[recorded(name)] for name in RECORDED]
    invented = [made_up(name, _SEEDS) for name in SHAPES]
    return "\n".join(
        (
            _INTRODUCTION,
            _RECORDED,
            _table(measured),
            "By the day of the forecast, all four together:\n",
            _by_day(measured),
            _MADE_UP,
            _table(invented),
            _by_day(invented),
            _READING.rstrip("\n"),
            "",
        )
    )


def _table(kinds: Iterable[Sequence[Series]]) -> str:
    return _rows("series", ((series[0].name.replace("_", " "), score(series)) for series in kinds))


def _by_day(kinds: Sequence[Sequence[Series]]) -> str:
    series = [one for kind in kinds for one in kind]
    return _rows("forecast on day", ((str(day), score(series, day)) for day in FORECAST_ON))


def _rows(first: str, scores: Iterable[tuple[str, Score]]) -> str:
    header = (first, "forecasts", "error", "straight line", "4 weeks", "covered")
    return "".join(f"| {' | '.join(line)} |\n" for line in _lines(header, scores))


def _lines(header: Sequence[str], scores: Iterable[tuple[str, Score]]) -> Iterator[Sequence[str]]:
    yield header
    yield ["---"] * len(header)
    for name, found in scores:
        errors = (f"{error:.1f}" for error in (found.error, found.line, found.weeks))
        yield name, str(found.trials), *errors, f"{found.coverage:.0f}"


if __name__ == "__main__":
    main()
