"""Exports: everything that is stored of a customer, in one archive.

A step reads for a while, adds to the archive and notes where it stopped. Only one run of a step is
under way at a time, and what a run adds counts when it is noted: a run that is killed leaves
nothing that the next one does not replace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from flowstack_core.domain.archives import described, json_line, last_piece, piece
from flowstack_core.domain.data_rights import (
    ArchiveFile,
    Export,
    ExportStep,
    Position,
    Scope,
)
from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.identifiers import sortable_id
from flowstack_core.domain.periods import Period
from flowstack_core.services.ports.accounts import AccountStore
from flowstack_core.services.ports.data_rights import Archives, CustomerData, DataRightsQueue, Visit
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks

LINK_LIFETIME = timedelta(minutes=15)
"""How long a link to an archive works: long enough to click it, too short to be passed around."""

SMALLEST_PART = 5 * 1024 * 1024
"""S3 takes no smaller part, but for the last."""

LEASE = timedelta(minutes=5)
"""How long a step may be running: longer than the function that runs it can live."""

STEP_SECONDS = 45

_FILE_BYTES = 4 * 1024 * 1024
"""When a file of an archive is full, before compression: what a step holds in memory at a time."""


@dataclass
class _Piecework:
    """What one run of a step has gathered."""

    export: Export
    at: datetime
    content: bytearray
    lines: bytearray = field(default_factory=bytearray)
    records: int = 0
    open_file: str = ""
    files: list[ArchiveFile] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, visit: Visit) -> None:
        """Take what a visit shows."""
        if visit.place is None or visit.file is None:
            return
        if visit.file != self.open_file or len(self.lines) >= _FILE_BYTES:
            self.close_file()
            self.open_file = visit.file
        self.lines += json_line(visit.row)
        self.records += 1

    def close_file(self) -> None:
        """Make a file of the lines so far."""
        if not self.records:
            return
        # The number of the step keeps names apart, whatever order steps are read in.
        name = f"{self.open_file}/{self.export.step:06d}-{len(self.files):03d}.jsonl"
        content = bytes(self.lines)
        self.files.append(described(name, content, self.records))
        self.content += piece(name, content, self.at)
        self.counts[self.open_file] = self.counts.get(self.open_file, 0) + self.records
        self.lines, self.records = bytearray(), 0


class ExportService:
    """Starts exports, tells how far they are, and does their steps."""

    def __init__(
        self,
        accounts: AccountStore,
        data: CustomerData,
        archives: Archives,
        queue: DataRightsQueue,
        clocks: CustomerClocks,
        system_clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        smallest_part: int = SMALLEST_PART,
        step_items: int | None = None,
    ) -> None:
        self._accounts = accounts
        self._data = data
        self._archives = archives
        self._queue = queue
        self._clocks = clocks
        self._system_clock = system_clock
        self._random_bytes = random_bytes
        self._smallest_part = smallest_part
        self._step_items = step_items

    def start(self, actor: str, customer_id: str) -> Export:
        """Start an export.

        Raises
        ------
        NotFoundError
            There is no such customer.
        AccountClosedError
            The customer is being erased.
        """
        customer = self._accounts.customer(customer_id)
        subscription = self._accounts.subscription(customer_id)
        if customer is None or subscription is None:
            raise NotFoundError("There is no such customer.", details={"customer_id": customer_id})
        subscription.ensure_running()
        now = self._system_clock.now()
        last = Period.containing(self._clocks.for_customer(customer_id).now())
        export = Export(
            Scope(customer_id, Period.containing(customer.created_at), last),
            sortable_id("exp", now, self._random_bytes(10)),
            actor,
            now,
        )
        self._data.begin_export(export)
        self._queue.send_export(customer_id, export.export_id, export.step)
        return export

    def export(self, customer_id: str, export_id: str) -> Export:
        """Return how far an export is.

        Raises
        ------
        NotFoundError
            There is no such export.
        """
        found = self._data.export(customer_id, export_id)
        if found is None:
            raise NotFoundError(
                "There is no such export.",
                details={"customer_id": customer_id, "export_id": export_id},
            )
        return found

    def link(self, export: Export) -> tuple[str, datetime] | None:
        """Return a link to the archive and when it ends; ``None`` if there is no archive."""
        now = self._system_clock.now()
        if export.expires_at is None or export.expires_at <= now:
            return None
        return self._archives.link(export, LINK_LIFETIME), now + LINK_LIFETIME

    def step(self, customer_id: str, export_id: str, number: int) -> Export | None:
        """Do a step and ask for the next; ``None`` if the export is no more.

        Where another run of the step may be under way, nothing is done: should that one be killed,
        the message that it was handling is delivered again.
        """
        export = self._data.export(customer_id, export_id)
        if export is None or export.ready_at is not None or number + 1 < export.step:
            return export
        if number == export.step:
            now = self._system_clock.now()
            if not self._data.take_export_step(export, now + LEASE, now):
                return export
            export = self._run(export)
        if export.ready_at is None:
            self._queue.send_export(customer_id, export_id, export.step)
        return export

    def _run(self, export: Export) -> Export:
        if export.written_at is not None:
            return self._finish(export)
        if not export.upload_id:
            export = replace(export, upload_id=self._archives.begin(export))
        work, position, finished = self._gather(export)
        counts = {**export.counts}
        for file, records in work.counts.items():
            counts[file] = counts.get(file, 0) + records
        after = replace(
            export,
            step=export.step + 1,
            position=position,
            counts=counts,
            tail=None,
            run_until=None,
            written_at=work.at if finished else None,
        )
        if finished:
            files = [file for step in self._data.export_steps(export) for file in step.files]
            work.content += last_piece(after, [*files, *work.files], work.at)
        part = None
        if finished or len(work.content) >= self._smallest_part:
            part = self._archives.put_part(export, export.parts + 1, bytes(work.content))
            after = replace(after, parts=part.number)
        elif work.content:
            self._archives.put_tail(export, export.step, bytes(work.content))
            after = replace(after, tail=export.step)
        return self._noted(export, after, ExportStep(export.step, tuple(work.files), part))

    def _gather(self, export: Export) -> tuple[_Piecework, Position, bool]:
        """Read on, until a part is full or time is up; say where, and whether that was all."""
        now = self._system_clock.now()
        left = b"" if export.tail is None else self._archives.tail(export, export.tail)
        work = _Piecework(export, now, bytearray(left))
        position, finished = export.position, True
        for visits, visit in enumerate(self._data.walk(export.scope, export.position), start=1):
            work.add(visit)
            position = visit.position
            if self._enough(work, now, visits):
                finished = False
                break
        work.close_file()
        return work, position, finished

    def _enough(self, work: _Piecework, began: datetime, visits: int) -> bool:
        return (
            len(work.content) >= self._smallest_part
            or visits == self._step_items
            or self._system_clock.now() >= began + timedelta(seconds=STEP_SECONDS)
        )

    def _finish(self, export: Export) -> Export:
        """Make one archive of the parts that were noted: however often, it is the same one."""
        steps = self._data.export_steps(export)
        self._archives.finish(export, [step.part for step in steps if step.part is not None])
        now = self._system_clock.now()
        after = replace(export, step=export.step + 1, run_until=None, ready_at=now)
        return self._noted(export, after, ExportStep(export.step, (), None))

    def _noted(self, before: Export, after: Export, step: ExportStep) -> Export:
        self._data.advance_export(before, after, step)
        return self.export(before.scope.customer_id, before.export_id)
