"""A customer's right to its data: one whole archive, and everything deleted but its statements."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from flowstack_core.domain.api_keys import RANDOM_BYTES, KeyRecord, mint_key
from flowstack_core.domain.data_rights import Phase
from flowstack_core.domain.errors import AccountClosedError, InvalidRequestError, NotFoundError
from flowstack_core.domain.month_end import ClosePage
from flowstack_core.domain.plans import Tier
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.authorization import AuthorizationService
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.erasures import ErasureMovedError, ErasureService
from flowstack_core.services.exports import LEASE, LINK_LIFETIME, ExportService
from flowstack_core.services.subscriptions import SubscriptionService
from tests.support.archives import files_of
from tests.support.customers_items import CANARY, every_kind
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, World
from tests.support.faulty import Answerless, FunctionKilled, Killed
from tests.support.in_memory_data_rights import (
    InMemoryArchives,
    InMemoryCustomerData,
    InMemoryDataRightsQueue,
)

QUIET = timedelta(minutes=30)
ME, OTHER = "cus_1", "cus_2"
KEY = "digest"


@dataclass
class Rights:
    """A world, the items of two customers, and the two services; ``fault`` strikes the stores."""

    fault: Any = None
    smallest_part: int = 600
    world: World = field(default_factory=World)
    data: InMemoryCustomerData = field(default_factory=InMemoryCustomerData)
    archives: InMemoryArchives = field(default_factory=InMemoryArchives)
    queue: InMemoryDataRightsQueue = field(default_factory=InMemoryDataRightsQueue)

    def __post_init__(self) -> None:
        self.archives.smallest_part = self.smallest_part
        self.world.subscribe()
        self.world.tables.keys[KEY] = KeyRecord(
            "key_1", ME, KEY, "fs_…", "ci", self.world.clock.now()
        )
        for customer_id in (ME, OTHER):
            for item in every_kind(customer_id, [NOVEMBER], sessions=3):
                self.data.put(**item)
        self.whole = dict(self.data.items)
        self.compose()

    def compose(self) -> None:
        """Put everything together, with the fault before the stores."""
        self._compose(self.fault.wrap if self.fault is not None else lambda store: store)

    def _compose(self, wrapped: Callable[[Any], Any]) -> None:
        world = self.world
        data, archives, queue = map(wrapped, (self.data, self.archives, self.queue))
        accounts, closings = wrapped(world.accounts), wrapped(world.closings)
        clock, retrier = world.clock, world.retrier
        closing = ClosingService(closings, clock, retrier)
        self.exports = ExportService(
            accounts,
            data,
            archives,
            queue,
            clock,
            clock,
            Random(1).randbytes,
            smallest_part=self.smallest_part,
            step_items=5,
        )
        self.erasures = ErasureService(
            AccountService(accounts, clock, clock, Random(2).randbytes, retrier, closing),
            SubscriptionService(
                *(accounts, world.usage, clock, clock, Random(3).randbytes, retrier, closing)
            ),
            closing,
            data,
            archives,
            queue,
            clock,
            retrier,
            quiet=QUIET,
            batch=2,
        )

    def mend(self) -> None:
        """Let nothing fail any more."""
        self._compose(lambda store: store)

    def deliver(self) -> None:
        """Deliver messages until there are none, each as late as it has to be."""
        while self.queue.messages:
            customer_id, export_id, step = self.queue.messages[0]
            if export_id is None:
                self.erasures.step(customer_id, step)
                self.world.clock.advance(minutes=30)
            else:
                self.exports.step(customer_id, export_id, step)
            # A message that is being handled when its function dies is delivered again.
            self.queue.messages.pop(0)

    def archive(self, export_id: str) -> dict[str, bytes]:
        """Return the files of an archive."""
        return files_of(self.archives.finished[ME, export_id])

    def left(self, customer_id: str) -> set[str]:
        """Return the sort keys of what is there of a customer."""
        return {place.sk for place in self.data.items if customer_id in place.pk + place.sk}


def exported(rights: Rights) -> dict[str, bytes]:
    export = rights.exports.start("op", ME)
    rights.deliver()
    return rights.archive(export.export_id)


def rows(files: dict[str, bytes], kind: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for name, content in sorted(files.items())
        if name.startswith(f"{kind}/")
        for line in content.decode().splitlines()
    ]


# --- exports -------------------------------------------------------------------------------------


def test_an_archive_has_everything_of_its_customer_and_nothing_of_others() -> None:
    files = exported(Rights())
    assert {name.split("/")[0] for name in files} == {
        *("transcripts", "conversations", "sessions", "vault", "credentials", "payments"),
        *("requests", "payers", "days", "slices", "budget_alerts"),
        *("webhook", "webhook_deliveries", "alerts", "alert_settings"),
        *("keys", "usage", "statements", "acts", "subscription", "customer", "manifest.json"),
    }
    assert len(rows(files, "transcripts")) == len(rows(files, "sessions")) == 3
    assert rows(files, "vault") == [{"place": "notes#1", "body": {"n": "Ü"}}]
    assert rows(files, "credentials") == [{"provider": "openai", "masked": {"api_key": "sk-…1234"}}]
    assert rows(files, "requests") == [
        {"part": "req_1#BODY", "body": {"message": "Hello"}},
        {"part": "req_1#STATE", "status": "succeeded", "answer": {"text": "Hi"}},
    ]
    said = {"managed": True, "provider": "bedrock", "model": "nova"}
    said |= {"messages": 2, "input_tokens": 20, "output_tokens": 9}
    assert [row["said"] for row in rows(files, "conversations")] == [[said]] * 3
    assert [row["rolled_up"] for row in rows(files, "sessions")] == [[said]] * 3
    assert rows(files, "days") == [{"day": "DAY#2026-11-15", "sessions": 3}]
    assert rows(files, "subscription") == [
        {"part": "SUBSCRIPTION", "terms": {"tier": "starter"}},
        {"part": "SUBSCRIPTION#LIMITS", "session_turn_cap": 20},
    ]
    assert rows(files, "webhook") == [{"url": "https://a.example/"}]
    assert rows(files, "webhook_deliveries") == [{"event_id": "evt_1", "data": {"threshold": 75}}]
    assert rows(files, "payers") == [{"payer_id": "payer_cus_1", "customer_id": "cus_1"}]
    assert rows(files, "acts")[0]["after"] == {"tier": "starter"}
    assert rows(files, "alerts") == [{"threshold": 75}]
    assert rows(files, "alert_settings") == [{"thresholds": [75], "email": "ada@example.com"}]
    assert OTHER.encode() not in b"".join(files.values())


def test_the_manifest_counts_and_hashes_every_file() -> None:
    files = exported(Rights())
    manifest = json.loads(files.pop("manifest.json"))
    assert {file["name"]: file["sha256"] for file in manifest["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    for file in manifest["files"]:
        assert file["records"] == len(files[file["name"]].splitlines())
        assert file["bytes"] == len(files[file["name"]])
    assert manifest["counts"]["sessions"] == 3
    assert sum(manifest["counts"].values()) == sum(f["records"] for f in manifest["files"])


def test_no_secret_is_in_an_archive() -> None:
    rights = Rights()
    export = rights.exports.start("op", ME)
    rights.deliver()
    assert CANARY.encode() in repr(rights.whole).encode()
    assert CANARY.encode() not in gzip.decompress(rights.archives.finished[ME, export.export_id])


def test_all_steps_but_the_last_fill_a_part_or_leave_a_tail() -> None:
    rights = Rights()
    exported(rights)
    (export,) = rights.data.exports.values()
    assert export.step > 5
    assert 1 < export.parts < export.step - 1
    assert rights.archives.tails


@pytest.mark.parametrize("applied", [False, True])
def test_an_export_that_is_killed_anywhere_goes_on_to_the_same_archive(applied: bool) -> None:
    expected = {
        kind: rows(exported(Rights()), kind) for kind in ("transcripts", "sessions", "vault")
    }
    calls = killed_at_every_call(applied, exported, lambda rights: check_archive(rights, expected))
    assert calls > 30


def check_archive(rights: Rights, expected: dict[str, list[dict[str, Any]]]) -> None:
    finished = [export for export in rights.data.exports.values() if export.ready_at is not None]
    if not finished:  # killed before anybody was asked for anything: the operator asks again
        rights.queue.messages.clear()
        exported(rights)
        finished = [one for one in rights.data.exports.values() if one.ready_at is not None]
    for export in finished:
        files = rights.archive(export.export_id)
        assert {kind: rows(files, kind) for kind in expected} == expected


def killed_at_every_call(
    applied: bool, act: Callable[[Rights], Any], check: Callable[[Rights], None]
) -> int:
    """Kill at each call of a store in turn, mend, deliver what waits, and check."""
    for survived in range(10_000):
        fault = Killed(survived, applied=applied)
        rights = Rights(fault)
        try:
            act(rights)
        except FunctionKilled:
            rights.mend()
            rights.world.clock.advance(seconds=LEASE.total_seconds())
            rights.deliver()
            check(rights)
        else:
            rights.mend()
            check(rights)
            return survived
    raise AssertionError("it never ends")


def test_a_step_that_may_be_running_is_not_run_twice() -> None:
    rights = Rights()
    export = rights.exports.start("op", ME)
    now = rights.world.clock.now()
    assert rights.data.take_export_step(export, now + LEASE, now)
    again = rights.exports.step(ME, export.export_id, 0)
    assert again is not None
    assert again.step == 0
    assert not rights.archives.uploads


def test_a_message_delivered_late_or_twice_adds_nothing() -> None:
    rights = Rights()
    export = rights.exports.start("op", ME)
    rights.deliver()
    before = rights.archive(export.export_id)
    for step in range(5):
        rights.exports.step(ME, export.export_id, step)
    rights.deliver()
    assert rights.archive(export.export_id) == before


def test_a_link_is_given_only_while_there_is_an_archive() -> None:
    rights = Rights()
    export = rights.exports.start("op", ME)
    assert rights.exports.link(export) is None
    rights.deliver()
    ready = rights.exports.export(ME, export.export_id)
    link = rights.exports.link(ready)
    assert link is not None
    assert link[1] == rights.world.clock.now() + LINK_LIFETIME
    rights.world.clock.advance(days=7)
    assert rights.exports.link(ready) is None


def test_nobody_unknown_is_exported() -> None:
    with pytest.raises(NotFoundError):
        Rights().exports.start("op", "cus_9")
    with pytest.raises(NotFoundError):
        Rights().exports.export(ME, "exp_9")


# --- erasures ------------------------------------------------------------------------------------


def erased(rights: Rights) -> None:
    rights.erasures.start("op", ME, ME)
    rights.deliver()


def check_erased(rights: Rights) -> None:
    found = rights.data.erasures.get(ME)
    if found is None or found.phase is not Phase.DONE:  # the operator got no answer: asks again
        erased(rights)
    erasure = rights.erasures.erasure(ME)
    assert erasure.phase is Phase.DONE
    assert rights.left(ME) == {"STATEMENT#2026-11"}
    assert rights.left(OTHER) == {p.sk for p in rights.whole if OTHER in p.pk + p.sk}
    assert erasure.counts["record of a session"] == 3
    assert erasure.counts["turn of a transcript"] == 3
    # Statements stay; all else is counted once, however often the erasure was killed.
    mine = [place for place in rights.whole if ME in place.pk + place.sk]
    assert sum(erasure.counts.values()) == len(mine) - 1
    assert (ME, NOVEMBER) in rights.world.tables.statements
    assert rights.world.tables.keys[KEY].revoked_at is not None


def test_an_erasure_leaves_statements_and_nothing_else() -> None:
    rights = Rights()
    erased(rights)
    check_erased(rights)
    erasure = rights.erasures.erasure(ME)
    assert (erasure.actor, erasure.asked_at) == ("op", NOON)
    assert not erasure.position  # it would name what was deleted
    assert "Ada" not in repr(erasure)


@pytest.mark.parametrize("applied", [False, True])
def test_an_erasure_that_is_killed_anywhere_ends_the_same(applied: bool) -> None:
    assert killed_at_every_call(applied, erased, check_erased) > 30


@pytest.mark.parametrize("late", [timedelta(0), QUIET])
@pytest.mark.parametrize("applied", [False, True])
def test_an_erasure_goes_on_by_itself_wherever_a_step_was_cut_off(
    applied: bool, late: timedelta
) -> None:
    for survived in range(10_000):
        rights = Rights()
        rights.erasures.start("op", ME, ME)
        rights.world.clock.advance(seconds=late.total_seconds())
        rights.fault = Killed(survived, applied=applied)
        rights.compose()
        try:
            rights.deliver()
        except FunctionKilled:
            rights.mend()
            rights.deliver()
        assert rights.data.erasures[ME].phase is Phase.DONE, f"killed after {survived} calls"
        if rights.fault.left >= 0:
            assert survived > 30
            return


def test_an_erasure_that_is_repeated_does_and_says_the_same() -> None:
    rights = Rights()
    erased(rights)
    done = rights.erasures.erasure(ME)
    assert rights.erasures.start("somebody else", ME, ME) == done
    assert not rights.queue.messages


class OvertakingQueue(InMemoryDataRightsQueue):
    """Lets somebody else come before whoever sends the first message of an erasure."""

    def __init__(self, overtake: Callable[[], object]) -> None:
        super().__init__()
        self._overtake: Callable[[], object] | None = overtake

    def send_erasure(self, customer_id: str, step: int, delay: timedelta) -> None:
        """Ask for a step of an erasure."""
        super().send_erasure(customer_id, step, delay)
        overtake, self._overtake = self._overtake, None
        if overtake is not None:
            overtake()


def test_of_two_who_ask_for_an_erasure_at_once_both_are_told_where_it_stands() -> None:
    rights = Rights()

    def ask_too() -> None:
        rights.erasures.start("op", ME, ME)
        rights.world.clock.advance(seconds=1)

    rights.queue = OvertakingQueue(ask_too)
    rights.compose()
    assert rights.erasures.start("op", ME, ME) == rights.erasures.erasure(ME)
    rights.deliver()
    check_erased(rights)


def test_an_erasure_has_to_be_confirmed_by_the_customers_id() -> None:
    rights = Rights()
    with pytest.raises(InvalidRequestError):
        rights.erasures.start("op", ME, OTHER)
    assert not rights.data.erasures


def test_nobody_unknown_is_erased() -> None:
    with pytest.raises(NotFoundError):
        Rights().erasures.start("op", "cus_9", "cus_9")
    with pytest.raises(NotFoundError):
        Rights().erasures.erasure(ME)


def test_a_customer_is_stopped_before_the_request_is_answered() -> None:
    rights = Rights()
    world = rights.world
    world.send("before")
    rights.erasures.start("op", ME, ME)
    assert world.tables.keys[KEY].revoked_at is not None
    with pytest.raises(AccountClosedError):
        world.send("another")
    world.clock.advance(days=31)  # nor in the next period, should the erasure take so long
    with pytest.raises(AccountClosedError):
        world.send("another")
    assert world.used(NOVEMBER) == 1


def test_what_is_owed_is_on_the_last_statement_and_nothing_after_it() -> None:
    rights = Rights()
    rights.world.send("before")
    rights.erasures.start("op", ME, ME)
    statement = rights.world.tables.statements[ME, NOVEMBER]
    assert (statement.total_cents, statement.sessions_used) == (2900, 1)
    rights.world.clock.advance(days=31)
    rights.world.close_month()
    rights.world.clock.advance(days=31)
    rights.world.close_month()
    assert rights.world.tables.statements[ME, DECEMBER].total_cents == 0


def test_a_key_that_was_issued_as_its_customer_was_stopped_lets_nobody_in() -> None:
    rights, key = Rights(), mint_key(bytes(RANDOM_BYTES))
    world = rights.world
    issued = KeyRecord("key_2", ME, key.digest, "fs_…", "late", world.clock.now())
    world.tables.keys[key.digest] = issued
    authorization = AuthorizationService(world.accounts, world.own_limits, world.clock)
    assert authorization.authorize(key.text) is not None
    rights.erasures.start("op", ME, ME)
    world.tables.keys[key.digest] = issued
    assert authorization.authorize(key.text) is None


def test_who_pays_nothing_has_nothing_to_be_ended() -> None:
    rights = Rights()
    rights.world.subscribe(Tier.FREE)
    rights.erasures.start("op", ME, ME)
    assert rights.world.tables.statements[ME, NOVEMBER].plan_change is None
    assert rights.world.tables.subscriptions[ME].ended_at == NOON


def test_periods_that_were_left_open_are_closed_in_their_order() -> None:
    rights = Rights()
    rights.world.send("november")
    rights.world.clock.advance(days=62)
    rights.erasures.start("op", ME, ME)
    closed = [period for _, period in rights.world.tables.statements]
    assert closed == [NOVEMBER, DECEMBER, DECEMBER.next()]
    scope = rights.erasures.erasure(ME).scope
    assert (scope.first, scope.last) == (NOVEMBER, DECEMBER.next())


def test_so_many_open_periods_that_one_step_cannot_close_them_are_closed_by_more() -> None:
    rights = Rights()
    rights.world.clock.advance(days=31 * 40)
    rights.erasures.start("op", ME, ME)
    assert rights.erasures.erasure(ME).phase is Phase.STOPPING
    rights.deliver()
    assert rights.erasures.erasure(ME).phase is Phase.DONE
    assert len(rights.world.tables.statements) >= 40


def test_nothing_changes_for_a_customer_that_was_stopped() -> None:
    rights = Rights()
    rights.erasures.start("op", ME, ME)
    for act in (
        lambda: rights.world.set_terms(Tier.PROFESSIONAL),
        lambda: rights.world.credit(5),
        lambda: rights.world.account_service.issue_key("op", ME, "new", None),
        lambda: rights.world.account_service.move_clock("op", ME, advance=timedelta(days=1)),
        lambda: rights.exports.start("op", ME),
    ):
        with pytest.raises(AccountClosedError):
            act()


def test_deleting_waits_for_the_longest_request() -> None:
    rights = Rights()
    rights.erasures.start("op", ME, ME)
    rights.world.clock.advance(minutes=29)
    rights.erasures.step(ME, 1)
    assert rights.data.items == rights.whole
    assert rights.queue.delays[-1] == timedelta(minutes=1)
    rights.world.clock.advance(minutes=1)
    rights.erasures.step(ME, 1)
    assert rights.data.items != rights.whole


def test_what_a_request_under_way_still_wrote_is_found_by_the_next_pass() -> None:
    rights = Rights()
    rights.erasures.start("op", ME, ME)
    rights.world.clock.advance(minutes=30)
    rights.erasures.step(ME, 1)
    rights.data.put("accounts", f"CUSTOMER#{ME}", "KEY#late", digest={"S": "late"})
    rights.deliver()
    assert rights.left(ME) == {"STATEMENT#2026-11"}
    assert rights.erasures.erasure(ME).passes == 3


def test_archives_are_erased_too() -> None:
    rights = Rights()
    exported(rights)
    assert rights.archives.finished
    erased(rights)
    assert not rights.archives.finished
    assert not rights.archives.tails
    assert rights.erasures.erasure(ME).counts["object of an archive"] > 1


def test_an_export_under_way_ends_with_its_customer() -> None:
    rights = Rights()
    export = rights.exports.start("op", ME)
    rights.data.exports.clear()
    assert rights.exports.step(ME, export.export_id, 0) is None


def test_an_answer_that_got_lost_is_told_from_somebody_elses_step() -> None:
    rights = Rights(Answerless("advance_erasure"))
    erased(rights)
    check_erased(rights)
    rights = Rights()
    rights.erasures.start("op", ME, ME)
    erasure = rights.erasures.erasure(ME)
    rights.data.advance_erasure(erasure, erasure.deleted("x", 0, ("customer", "y")), [])
    with pytest.raises(ErasureMovedError):
        rights.erasures._advance(erasure, erasure.deleted("x", 0, ("customer", "z")), [])


# --- the month end -------------------------------------------------------------------------------


def test_a_month_end_passes_over_who_was_erased() -> None:
    rights = Rights()
    rights.erasures.start("op", ME, ME)
    world = rights.world
    world.clock.advance(days=31)
    world.month_end.ensure()
    while world.queue.steps:
        world.month_end.step(*world.queue.steps.popleft())
    del world.tables.customers[ME], world.tables.subscriptions[ME]
    while world.queue.pages:
        world.close_worker.close(world.queue.pages.popleft(), 1)
    progress = world.month_end.progress(NOVEMBER)
    assert (progress.closed, dict(progress.failed)) == (1, {})


def test_a_month_end_does_not_pass_over_who_never_was() -> None:
    outcome = Rights().world.closing_service.close_page(ClosePage(NOVEMBER, 0, ("cus_9",)))
    assert outcome.failed == {"cus_9": "There is no such customer."}
