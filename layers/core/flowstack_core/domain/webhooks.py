"""Webhooks: what customers' servers are told, and what became of telling them.

An event is delivered in a *series* of attempts, one after the other, until one succeeds or none is
left; delivering it again begins another series. A `Delivery` is where one event stands. It changes
by the functions here, each of which gives the next version of it: whoever writes it down does so
only in the place of the version it was made from, so that no step is taken twice.

Instants of attempts are the system's: a test clock moves billing time, not the network's.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from flowstack_core.domain.periods import instant

SECRET_BYTES = 32
"""The specification asks for 24 to 64."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - how the specification has secrets begin
OVERLAP = timedelta(hours=24)
"""How long an old secret goes on signing after it was rotated."""

MOST_SECRETS = 3
"""How many sign at once: each is opened for every attempt."""

RETENTION = timedelta(days=30)
"""How long a delivery can be looked up, and made again, after its event."""

PACE = timedelta(seconds=10)
"""Between two deliveries that the customer asks for, of one event or of tests."""

RETRY_DELAYS: Sequence[timedelta] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
"""Between the attempts of a series: a bit more than a day, as the specification recommends."""

JITTER = 0.1
"""By how much of itself a delay can be longer, so that what failed together does not return so."""

LONGEST_DELAY = timedelta(hours=10)
"""What a receiver can ask for with ``Retry-After``."""

BUSY_DELAY = timedelta(minutes=5)
"""What a receiver is given at least that is under load, whatever the schedule says."""

LATE = timedelta(hours=1)
"""By how much an attempt is overdue whose step must have been lost."""

ATTEMPTS_KEPT = 50

_EVENT_ID = re.compile(r"[!-\-/-~]{1,128}")
"""Fit to be signed and to stand in a header: visible ASCII, and no full stop."""

_BUSY = frozenset({429, 502, 504})
_GONE = 410
_SUCCESSES = range(200, 300)
_REDIRECTS = range(300, 400)


class EventType(StrEnum):
    """What customers' servers are told of."""

    USAGE_ALERT = "usage.alert"
    BUDGET_REACHED = "budget.reached"
    STATEMENT_CREATED = "statement.created"
    TEST = "webhook.test"


class Status(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Failure(StrEnum):
    """Why an attempt did not succeed, or why there are no more: all that is kept of it."""

    STATUS = "status"
    REDIRECT = "redirect"
    GONE = "gone"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "address_refused"
    MALFORMED = "malformed_response"
    SECRET = "secret_unreadable"  # noqa: S105 - it is a reason
    REMOVED = "webhook_removed"


# --- events --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that happened to a customer, for its server to know.

    Attributes
    ----------
    event_id
        The same however often the event is told: receivers know a repeat by it.
    at
        When it happened, on the customer's clock.
    data
        What JSON can hold.
    """

    event_id: str
    customer_id: str
    type: str
    at: datetime
    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        if _EVENT_ID.fullmatch(self.event_id) is None:
            raise ValueError("an event's id is visible ASCII without a full stop")

    def payload(self) -> dict[str, Any]:
        """Return what is sent, in the form that the specification recommends."""
        return {"type": self.type, "timestamp": instant(self.at), "data": dict(self.data)}

    def body(self) -> str:
        """Return the text that is signed and sent: the same at every attempt."""
        return json.dumps(self.payload(), separators=(",", ":"))


def trial_event(customer_id: str, now: datetime) -> WebhookEvent:
    """Return the event that a customer asks for, to see that its server is reached.

    Whoever asks again within `PACE` gets the same event, and that is delivered once.
    """
    number = int(now.timestamp() // PACE.total_seconds())
    return WebhookEvent(
        event_id=f"test_{number}",
        customer_id=customer_id,
        type=EventType.TEST.value,
        at=now,
        data={"message": "This is a test. Your webhook works."},
    )


# --- endpoints -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A signing secret as it is kept; ``until`` is when an old one stops signing."""

    ciphertext: bytes = field(repr=False)
    until: datetime | None = None

    def signs_at(self, now: datetime) -> bool:
        """Whether deliveries are signed with it."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where a customer wants to be told.

    Attributes
    ----------
    url
        Part of it may be as good as a password: it is shown to its customer only.
    secrets
        What deliveries are signed with, the newest first.
    switched_off_at
        When the server said that it is gone for good; nothing is sent until it is set again.
    version
        Raised by one with every change.
    """

    customer_id: str
    url: str = field(repr=False)
    secrets: tuple[SealedSecret, ...]
    created_at: datetime
    updated_at: datetime
    switched_off_at: datetime | None = None
    version: int = 1

    def signing(self, now: datetime) -> tuple[SealedSecret, ...]:
        """Return the secrets that sign at ``now``, the newest first."""
        return tuple(secret for secret in self.secrets if secret.signs_at(now))

    @property
    def old_secrets_until(self) -> datetime | None:
        """When the newest secret is, or was, the only one that signs; ``None`` if it always was."""
        return max((one.until for one in self.secrets if one.until is not None), default=None)

    def directed_to(self, url: str, now: datetime) -> WebhookEndpoint:
        """Return it with another address, or the same one, switched on."""
        return self._changed(now, url=url, switched_off_at=None)

    def rotated(self, ciphertext: bytes, now: datetime) -> WebhookEndpoint:
        """Return it with a new secret; the others go on signing for `OVERLAP` at most."""
        end = now + OVERLAP
        old = tuple(
            replace(secret, until=min(secret.until or end, end)) for secret in self.signing(now)
        )
        return self._changed(now, secrets=(SealedSecret(ciphertext), *old))

    def switched_off(self, now: datetime) -> WebhookEndpoint:
        """Return it without anything being sent to it any more."""
        return self._changed(now, switched_off_at=now)

    def _changed(self, now: datetime, **fields: Any) -> WebhookEndpoint:
        return replace(self, updated_at=now, version=self.version + 1, **fields)

    def facts(self) -> dict[str, Any]:
        """Return what the audit trail says of it: neither address nor secret."""
        return {
            "secrets": len(self.secrets),
            "switched_off": self.switched_off_at is not None,
            "version": self.version,
        }


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """Return a new signing secret, as its customer gets to see it once."""
    return SECRET_PREFIX + base64.b64encode(random_bytes(SECRET_BYTES)).decode()


# --- attempts ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of sending an event once.

    Attributes
    ----------
    status
        What the server answered; ``None`` if it did not.
    failure
        Why it is no success; ``None`` if it is one.
    retry_after
        How long the server asks to be left alone.
    """

    status: int | None
    failure: Failure | None
    retry_after: timedelta | None = None

    @classmethod
    def answered(cls, status: int, retry_after: timedelta | None = None) -> Reply:
        """Return what a status means: 2xx is success, whatever the body says."""
        if status in _SUCCESSES:
            return cls(status, None)
        if status == _GONE:
            return cls(status, Failure.GONE)
        redirect = status in _REDIRECTS
        return cls(status, Failure.REDIRECT if redirect else Failure.STATUS, retry_after)

    @classmethod
    def none(cls, failure: Failure) -> Reply:
        """Return that there was no answer."""
        return cls(None, failure)


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt, as it is kept: nothing of what the server wrote, but its status."""

    series: int
    number: int
    at: datetime
    status: int | None
    failure: Failure | None
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Step:
    """The request to make one attempt of a delivery, as it travels through the queue.

    That to make the first attempt of the series after the last begins this series.
    """

    customer_id: str
    event_id: str
    series: int = 1
    number: int = 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """When failed attempts are made again.

    Attributes
    ----------
    delays
        Between the attempts of a series: there is one more attempt than there are delays.
    chance
        Returns a number in [0, 1).
    """

    delays: Sequence[timedelta]
    chance: Callable[[], float]

    def delay_after(self, number: int, reply: Reply) -> timedelta | None:
        """Return how long to wait after a failed attempt; ``None`` if it was the last."""
        if number > len(self.delays) or reply.failure is Failure.GONE:
            return None
        wait = self.delays[number - 1]
        if reply.status in _BUSY:
            wait = max(wait, min(BUSY_DELAY, self.delays[-1]))
        if reply.retry_after is not None:
            wait = max(wait, min(reply.retry_after, LONGEST_DELAY))
        return wait * (1 + JITTER * self.chance())


# --- deliveries ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the delivery of one event stands.

    Attributes
    ----------
    created_at
        When the event was first taken up, on the system's clock.
    status, failure
        The outcome of the last series; ``failure`` says why it failed.
    series, made
        The series, and how many attempts of it were made.
    due_at
        When the next attempt is to be made; ``None`` if there is none.
    attempts
        The last attempts, the oldest first.
    worker, busy_until
        Who made, or makes, the last attempt, and until when it can be making it.
    version
        Raised by one with every change.
    """

    event: WebhookEvent
    created_at: datetime
    status: Status = Status.PENDING
    failure: Failure | None = None
    series: int = 1
    made: int = 0
    due_at: datetime | None = None
    attempts: tuple[DeliveryAttempt, ...] = ()
    worker: str | None = None
    busy_until: datetime | None = None
    version: int = 1

    @classmethod
    def of(cls, event: WebhookEvent, now: datetime) -> Delivery:
        """Return the delivery of an event that nothing was done about yet."""
        return cls(event, created_at=now, due_at=now)

    @property
    def over(self) -> bool:
        """Whether it has its outcome."""
        return self.status is not Status.PENDING

    @property
    def expires_at(self) -> datetime:
        """When it is forgotten."""
        return self.created_at + RETENTION

    @property
    def next_step(self) -> Step:
        """What is to be done next: the next attempt, or the first of another series."""
        event = self.event
        if self.over:
            return Step(event.customer_id, event.event_id, self.series + 1)
        return Step(event.customer_id, event.event_id, self.series, self.made + 1)

    def busy_at(self, now: datetime) -> bool:
        """Whether somebody may be making an attempt."""
        return self.busy_until is not None and now < self.busy_until

    def lost_at(self, now: datetime) -> bool:
        """Whether nobody is going to make the next attempt, as it looks."""
        return self.due_at is not None and self.due_at + LATE <= now and not self.busy_at(now)

    @property
    def exhausted(self) -> bool:
        """Whether it failed because no attempt is left, and not at the receiver's own wish."""
        return self.status is Status.FAILED and self.failure not in {Failure.GONE, Failure.REMOVED}

    def taken(self, worker: str, until: datetime) -> Delivery:
        """Return it with the next attempt being made."""
        return self._changed(worker=worker, busy_until=until)

    def again(self, now: datetime) -> Delivery:
        """Return it with another series begun."""
        return self._changed(
            status=Status.PENDING,
            failure=None,
            series=self.series + 1,
            made=0,
            due_at=now,
            worker=None,
        )

    def attempted(self, reply: Reply, begun: datetime, now: datetime) -> DeliveryAttempt:
        """Return the record of the attempt that is being made."""
        return DeliveryAttempt(
            series=self.series,
            number=self.made + 1,
            at=begun,
            status=reply.status,
            failure=reply.failure,
            milliseconds=max(0, round((now - begun) / timedelta(milliseconds=1))),
        )

    def after(self, attempt: DeliveryAttempt, delay: timedelta | None, now: datetime) -> Delivery:
        """Return it after an attempt; ``delay`` is that before the next one, if there is one."""
        failed = attempt.failure is not None
        going_on = failed and delay is not None
        return self._changed(
            status=(Status.PENDING if going_on else Status.FAILED if failed else Status.DELIVERED),
            failure=None if going_on else attempt.failure,
            made=attempt.number,
            due_at=now + delay if failed and delay is not None else None,
            attempts=(*self.attempts, attempt)[-ATTEMPTS_KEPT:],
            busy_until=None,
        )

    def dropped(self, failure: Failure) -> Delivery:
        """Return it given up without another attempt."""
        return self._changed(
            status=Status.FAILED, failure=failure, due_at=None, busy_until=None, worker=None
        )

    def _changed(self, **fields: Any) -> Delivery:
        return replace(self, version=self.version + 1, **fields)
