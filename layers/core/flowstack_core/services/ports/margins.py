"""What customers cost, beside what they pay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.margin import MarginRun
    from flowstack_core.domain.periods import Period


class MarginStore(Protocol):
    """The runs that add up margins, and the reports that they end in: one of each a period."""

    def run(self, period: Period) -> MarginRun | None:
        """Return the run of a period that was begun last, read consistently."""
        ...

    def begin(self, run: MarginRun) -> bool:
        """Put a run in the place of one of an earlier day; ``False`` if there is none such."""
        ...

    def advance(self, before: MarginRun, after: MarginRun) -> bool:
        """Do a step; where that finishes the run, it becomes the report, both or neither.

        ``False`` if the run has moved on already, or another one took its place.
        """
        ...

    def report(self, period: Period) -> MarginRun | None:
        """Return the run of a period that was finished last, read consistently."""
        ...


class MarginQueue(Protocol):
    """How the work of a run is handed on. Everything may be delivered twice."""

    def send_step(self, run: MarginRun) -> None:
        """Ask for the run's next step."""
        ...
