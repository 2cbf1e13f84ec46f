"""What operators do: customers, keys, tiers, contracts, credits and test clocks.

Every act leaves an audit record, written in the same transaction as the act itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from flowstack_core.domain.api_keys import RANDOM_BYTES, ApiKey, KeyRecord, mint_key
from flowstack_core.domain.errors import (
    ConflictError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
)
from flowstack_core.domain.identifiers import random_id, sortable_id
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.documents import subscription_facts
from flowstack_core.services.ports.accounts import (
    AccountStore,
    AuditRecord,
    ClockOffsetStore,
    Customer,
    Page,
)
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks
from flowstack_core.services.retrying import Patience, Retrier

_MAX_CHANGE_ATTEMPTS = 5

_WRITE_PATIENCE = timedelta(seconds=4)
"""How long one write may meet contention: a busy customer's counter is written all the time."""

_CLOSED_BY_A_MOVE = 36
"""How many periods one move of a test clock closes: as many as fit a request."""

_LAST_TEST_INSTANT = datetime(2200, 1, 1, tzinfo=UTC)
"""Test clocks stop here: periods and ids have to stay within what dates can express."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key at the only moment its text exists."""

    key: ApiKey
    record: KeyRecord


@dataclass(frozen=True, slots=True)
class CustomerClock:
    """A customer's test clock."""

    now: datetime
    offset_seconds: float


class AccountService:
    """Carries out operators' acts. An ``actor`` is who is acting: the IAM principal's ARN.

    Parameters
    ----------
    random_bytes
        A cryptographic source: keys are made of it.
    retrier
        Repeats writes that met contention.
    closings
        Closes the periods that a test clock leaves behind.
    test_clocks
        Absent on production stages, which have no test clocks.
    """

    def __init__(
        self,
        accounts: AccountStore,
        clocks: CustomerClocks,
        system_clock: Clock,
        random_bytes: Callable[[int], bytes],
        retrier: Retrier,
        closings: ClosingService,
        test_clocks: ClockOffsetStore | None = None,
    ) -> None:
        self._accounts = accounts
        self._clocks = clocks
        self._system_clock = system_clock
        self._random_bytes = random_bytes
        self._audit = Auditor(system_clock, random_bytes).record
        self._retrier = retrier
        self._closings = closings
        self._test_clocks = test_clocks

    def create_customer(
        self,
        actor: str,
        name: str,
        tier: Tier,
        session_limit: int | None,
        price_cents: int | None,
    ) -> tuple[Customer, Subscription, IssuedKey]:
        """Create a customer with a subscription and a first key."""
        now = self._system_clock.now()
        customer = Customer(random_id("cus", self._random_bytes(10)), name, now)
        subscription = Subscription(
            customer.customer_id, Terms.of(tier, session_limit, price_cents)
        )
        issued = self._mint(customer.customer_id, "first key", None, now)
        audit = self._audit(
            actor, customer.customer_id, "customer.create", None, subscription_facts(subscription)
        )
        if not self._write(
            lambda: self._accounts.create_customer(customer, subscription, issued.record, audit)
        ):
            raise ConflictError("The new customer's id is already taken; please try again.")
        return customer, subscription, issued

    def customer(self, customer_id: str) -> tuple[Customer, Subscription]:
        """Return a customer with its subscription."""
        customer = self._accounts.customer(customer_id)
        subscription = self._accounts.subscription(customer_id)
        if customer is None or subscription is None:
            raise _no_customer(customer_id)
        return customer, subscription

    def customers(self, limit: int, cursor: str | None) -> Page:
        """Return a page of customers, in the order they were created."""
        return self._accounts.customers(limit, cursor)

    def issue_key(
        self, actor: str, customer_id: str, name: str, expires_at: datetime | None
    ) -> IssuedKey:
        """Issue another key; its text is in the result and nowhere else."""
        now = self._clocks.for_customer(customer_id).now()
        if expires_at is not None and expires_at <= now:
            raise InvalidRequestError(
                "expires_at must lie in the future.", details={"field": "expires_at"}
            )
        self._running(customer_id)
        issued = self._mint(customer_id, name, expires_at, now)
        audit = self._audit(
            actor, customer_id, "key.issue", None, {"key_id": issued.record.key_id, "name": name}
        )
        if not self._write(lambda: self._accounts.add_key(issued.record, audit)):
            raise _no_customer(customer_id)
        return issued

    def keys(self, customer_id: str) -> list[KeyRecord]:
        """Return the customer's keys, in the order they were issued."""
        self.customer(customer_id)
        return sorted(self._accounts.keys(customer_id), key=lambda key: key.created_at)

    def now(self, customer_id: str) -> datetime:
        """Return the present instant on the customer's clock, by which its keys expire."""
        return self._clocks.for_customer(customer_id).now()

    def revoke_key(self, actor: str, customer_id: str, key_id: str) -> datetime:
        """Revoke a key; revoking it again changes nothing and tells when it was revoked."""
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            record = self._key(customer_id, key_id)
            if record.revoked_at is not None:
                return record.revoked_at
            audit = self._audit(actor, customer_id, "key.revoke", None, {"key_id": key_id})
            if self._write(partial(self._accounts.revoke_key, record, audit)):
                return audit.at
        raise ConflictError("The key is being changed by somebody else; try again.")

    def credit(
        self, actor: str, customer_id: str, sessions: int, reason: str, request_id: str | None
    ) -> Period:
        """Add sessions to the present period's limit; return that period.

        ``request_id`` makes it safe to repeat: the same id credits once, in the period in which
        it was first used.

        Raises
        ------
        IdempotencyConflictError
            If the id was used before for another number of sessions.
        """
        audit_id = None if request_id is None else f"credit:{request_id}"
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            credited = self._credited(customer_id, audit_id, sessions)
            if credited is not None:
                return credited
            subscription = self._running(customer_id)
            period = Period.containing(self._clocks.for_customer(customer_id).now())
            facts = {"sessions": sessions, "reason": reason, "period": period.name}
            audit = self._audit(actor, customer_id, "sessions.credit", None, facts, audit_id)
            credit = partial(self._accounts.credit, subscription, period, sessions, audit)
            if self._write(credit):
                # Two requests with one id may have raced: what is recorded is what happened.
                return self._credited(customer_id, audit_id, sessions) or period
        raise ConflictError("The subscription is being changed by somebody else; try again.")

    def audit_trail(self, customer_id: str, limit: int) -> list[AuditRecord]:
        """Return the newest acts on a customer first."""
        self.customer(customer_id)
        return list(self._accounts.audit_trail(customer_id, limit))

    def clock(self, customer_id: str) -> CustomerClock | None:
        """Return the customer's test clock; ``None`` on production stages."""
        if self._test_clocks is None:
            return None
        self.customer(customer_id)
        offset = self._test_clocks.offset_seconds(customer_id)
        return CustomerClock(self._system_clock.now() + timedelta(seconds=offset), offset)

    def move_clock(
        self,
        actor: str,
        customer_id: str,
        *,
        advance: timedelta | None = None,
        set_to: datetime | None = None,
    ) -> CustomerClock:
        """Move a customer's test clock forward, by ``advance`` or to ``set_to``.

        The periods that have ended on it then are closed, as time itself would have closed them:
        the oldest ones at once, the others by the next month end or change of the subscription.
        It never goes back: sessions, periods and answers already given would contradict it.
        """
        if self._test_clocks is None:
            raise NotFoundError("Test clocks do not exist on this stage.")
        self._running(customer_id)
        before = self._test_clocks.offset_seconds(customer_id)
        system_now = self._system_clock.now()
        now = system_now + timedelta(seconds=before)
        target = _moved(now, advance, set_to)
        after = (target - system_now).total_seconds()
        audit = self._audit(
            actor, customer_id, "clock.move", {"now": instant(now)}, {"now": instant(target)}
        )
        move = partial(self._test_clocks.set_offset, customer_id, before, after, audit)
        if not self._write(move):
            raise ConflictError("The clock is being moved by somebody else; try again.")
        self._closings.close_due(customer_id, at_most=_CLOSED_BY_A_MOVE)
        return CustomerClock(target, after)

    def _running(self, customer_id: str) -> Subscription:
        """Return the subscription of a customer that was not stopped."""
        _, subscription = self.customer(customer_id)
        subscription.ensure_running()
        return subscription

    def _write(self, write: Callable[[], bool]) -> bool:
        """Carry out a write of the store, again and again where it meets contention."""
        patience = Patience.of(self._system_clock, _WRITE_PATIENCE)
        return self._retrier.run(write, patience, reserve_seconds=0)

    def _credited(self, customer_id: str, audit_id: str | None, sessions: int) -> Period | None:
        """Return the period in which a credit was given before; ``None`` if it was not."""
        record = None if audit_id is None else self._accounts.audit_record(customer_id, audit_id)
        if record is None or record.after is None:
            return None
        if record.after["sessions"] != sessions:
            raise IdempotencyConflictError(
                f"This request_id credited {record.after['sessions']} sessions before.",
                details={
                    "field": "request_id",
                    "sessions": record.after["sessions"],
                    "period": record.after["period"],
                    "hint": "Use a new request_id for another credit.",
                },
            )
        return Period.parse(record.after["period"])

    def _key(self, customer_id: str, key_id: str) -> KeyRecord:
        for record in self._accounts.keys(customer_id):
            if record.key_id == key_id:
                return record
        raise NotFoundError(
            "There is no such key.", details={"customer_id": customer_id, "key_id": key_id}
        )

    def _mint(
        self, customer_id: str, name: str, expires_at: datetime | None, now: datetime
    ) -> IssuedKey:
        key = mint_key(self._random_bytes(RANDOM_BYTES))
        record = KeyRecord(
            key_id=sortable_id("key", now, self._random_bytes(10)),
            customer_id=customer_id,
            digest=key.digest,
            masked=key.masked,
            name=name,
            created_at=now,
            expires_at=expires_at,
        )
        return IssuedKey(key, record)


def _moved(now: datetime, advance: timedelta | None, set_to: datetime | None) -> datetime:
    """Return where a clock that stands at ``now`` goes."""
    try:
        target = now + advance if advance is not None else (set_to or now)
    except OverflowError:
        target = datetime.max.replace(tzinfo=UTC)
    if target < now:
        raise ConflictError(
            "A test clock only moves forward.",
            details={"now": instant(now), "requested": instant(target)},
        )
    if target > _LAST_TEST_INSTANT:
        raise InvalidRequestError(
            "A test clock does not go that far.",
            details={"now": instant(now), "latest": instant(_LAST_TEST_INSTANT)},
        )
    return target


def _no_customer(customer_id: str) -> NotFoundError:
    return NotFoundError("There is no such customer.", details={"customer_id": customer_id})
