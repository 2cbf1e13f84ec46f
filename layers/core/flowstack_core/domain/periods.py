"""Billing periods: calendar months in UTC, named ``2026-11``.

The period is part of every counter's key, so a new period starts at zero by itself and
nothing has to run at midnight for that to be true (Q3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_NAME = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, order=True, slots=True)
class Period:
    """One calendar month in UTC.

    Attributes
    ----------
    year, month
        The month; ``month`` counts from 1.
    """

    year: int
    month: int

    @classmethod
    def containing(cls, instant: datetime) -> Period:
        """Return the period in which ``instant`` (timezone-aware) falls."""
        utc = instant.astimezone(UTC)
        return cls(utc.year, utc.month)

    @classmethod
    def parse(cls, name: str) -> Period:
        """Read a name such as ``2026-11``.

        Raises
        ------
        ValueError
            If ``name`` is not the name of a period.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"not a billing period: {name!r}; expected YYYY-MM")
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        """The period's name, ``YYYY-MM``; names sort as the periods do."""
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def start(self) -> datetime:
        """The first instant of the period (inclusive)."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first instant after the period (exclusive): when the quota resets."""
        return self.next().start

    def next(self) -> Period:
        """Return the period that follows."""
        return Period(self.year + self.month // 12, self.month % 12 + 1)

    def previous(self) -> Period:
        """Return the period before."""
        return Period(self.year - 1, 12) if self.month == 1 else Period(self.year, self.month - 1)

    def ended(self, now: datetime) -> bool:
        """Whether nothing can start in the period any more at ``now``."""
        return now >= self.end

    def __str__(self) -> str:
        return self.name


def instant(moment: datetime) -> str:
    """Write a moment the way the API does: ISO 8601 in UTC with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional_instant(moment: datetime | None) -> str | None:
    """Write a moment as `instant` does, or ``None`` where there is none."""
    return None if moment is None else instant(moment)
