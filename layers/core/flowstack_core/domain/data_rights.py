"""A customer's right to its data: to have all of it in one archive, and to have it deleted.

Both are walks over everything that is stored of the customer, done in steps. A step begins where
the one before it left its mark, so a walk may stop anywhere, for any time, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flowstack_core.domain.periods import Period

UNLISTED_LIFETIME = timedelta(hours=24)
"""How long those items live that cannot be listed by customer: idempotency claims."""

ARCHIVE_LIFETIME = timedelta(days=7)
"""How long an archive can be fetched; the bucket's lifecycle rule says the same."""

ARCHIVES = "object of an archive"
"""What an erasure calls what exports left in the bucket."""

Position = tuple[str, ...]
"""Where a walk stands: a kind of item, the way to a partition of it, an item in there."""

START: Position = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a walk goes over: one customer, and the periods in which it had sessions."""

    customer_id: str
    first: Period
    last: Period

    def periods(self) -> Sequence[Period]:
        """Return the periods, the oldest first."""
        found = [self.first]
        while found[-1] < self.last:
            found.append(found[-1].next())
        return found


# --- export --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file of an archive, as its manifest lists it."""

    name: str
    records: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the archive that is stored: its number, and what the store calls its content."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class Export:
    """How far an export has come.

    Attributes
    ----------
    step
        The next step to be done.
    upload_id
        What the store calls the archive while it is written.
    parts
        How many parts of it are stored.
    tail
        The step that left data behind, too little to be a part; ``None`` if there is none.
    run_until
        Until when the step may be running: nobody else begins it before.
    written_at
        When the last part was stored; what is left is to make one archive of the parts.
    """

    scope: Scope
    export_id: str
    actor: str
    asked_at: datetime
    step: int = 0
    position: Position = START
    upload_id: str = ""
    parts: int = 0
    tail: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    run_until: datetime | None = None
    written_at: datetime | None = None
    ready_at: datetime | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When the archive is deleted; ``None`` while there is none."""
        return None if self.ready_at is None else self.ready_at + ARCHIVE_LIFETIME


@dataclass(frozen=True, slots=True)
class ExportStep:
    """What a step added to the archive."""

    number: int
    files: tuple[ArchiveFile, ...]
    part: Part | None


# --- erasure -------------------------------------------------------------------------------


class Phase(StrEnum):
    """What an erasure does next."""

    STOPPING = "stopping"
    DELETING = "deleting"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Erasure:
    """How far an erasure has come; when it is done, the record that it was.

    Attributes
    ----------
    step
        Raised by one with every write: of two that are at the same one, the second comes too late.
    runs
        How many messages of the queue were done with; a message that is older was overtaken.
    not_before
        When deleting goes on: requests that were under way have ended by then.
    passes
        How often everything was gone through.
    found
        How many items the present pass has deleted.
    counts
        How many items of each kind were deleted.
    gone_by
        When the last of those items expires that cannot be listed.
    """

    scope: Scope
    actor: str
    asked_at: datetime
    phase: Phase = Phase.STOPPING
    step: int = 0
    runs: int = 0
    not_before: datetime | None = None
    position: Position = START
    passes: int = 0
    found: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    stopped_at: datetime | None = None
    gone_by: datetime | None = None
    finished_at: datetime | None = None

    def stopped(self, last: Period, now: datetime, quiet: timedelta) -> Erasure:
        """Return the erasure after the customer was stopped."""
        return replace(
            self,
            scope=replace(self.scope, last=last),
            phase=Phase.DELETING,
            step=self.step + 1,
            runs=self.runs + 1,
            stopped_at=now,
            gone_by=now + quiet + UNLISTED_LIFETIME,
            not_before=now + quiet,
        )

    def deleted(self, kind: str, items: int, position: Position) -> Erasure:
        """Return the erasure after items of a kind were deleted, up to a position."""
        counts = dict(self.counts)
        if items:
            counts[kind] = counts.get(kind, 0) + items
        return replace(
            self,
            step=self.step + 1,
            position=position,
            found=self.found + items,
            counts=counts,
        )

    def handed_on(self) -> Erasure:
        """Return the erasure for another message to go on with."""
        return replace(self, runs=self.runs + 1)

    def passed(self, archived: int, now: datetime, quiet: timedelta) -> Erasure:
        """Return the erasure after everything was gone through once more.

        ``archived`` objects of exports were deleted at the end of the pass.
        It is done when a pass that began after the last request had ended finds nothing: what was
        written while the first pass ran is found by the next one.
        """
        passes, counts = self.passes + 1, dict(self.counts)
        if archived:
            counts[ARCHIVES] = counts.get(ARCHIVES, 0) + archived
        if passes > 1 and not self.found and not archived:
            return replace(
                self,
                phase=Phase.DONE,
                step=self.step + 1,
                passes=passes,
                # It may have named a document.
                position=START,
                not_before=None,
                finished_at=now,
            )
        return replace(
            self,
            step=self.step + 1,
            runs=self.runs + 1,
            position=START,
            passes=passes,
            found=0,
            counts=counts,
            not_before=now + quiet,
        )
