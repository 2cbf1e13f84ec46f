"""Alerts: a customer is told, once a period and threshold, how much of its limit is used (A1).

Whether a threshold is reached follows from a counter alone; that it was told of before follows
from the alert that is kept. So whatever the order in which counts are seen, and however often,
an alert exists if and only if a count that was seen ever reached it, and never a second time:
neither after a credit or an upgrade moved the limit away, nor after a release lowered the count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.quota import PeriodUsage

DEFAULT_THRESHOLDS = (75, 90, 95)
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 1, 100
MAX_THRESHOLDS = 10
MAX_EMAIL_LENGTH = 254
"""As much as a path of SMTP holds (RFC 5321, 4.5.3.1.3, with its erratum 1690)."""

# An address as providers of mail give them out: no quotes, no comments, nothing that could be a
# second address or a second line.
_EMAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])"
)
_MAX_LOCAL_PART = 64


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Of what a customer wants to be told, and where besides its webhook.

    Attributes
    ----------
    thresholds
        Whole percents of the limit, from the lowest to the highest.
    version
        Raised by one each time they are changed; 0 before that.
    """

    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS
    email: str | None = None
    version: int = 0

    def facts(self) -> dict[str, Any]:
        """Return what the audit trail says of them: whether mail is sent, not where to."""
        return {
            "thresholds": list(self.thresholds),
            "email": self.email is not None,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What a customer asks for; what it does not name stays.

    Attributes
    ----------
    thresholds
        ``None`` leaves them as they are.
    email
        Where mail goes from now on, ``None`` for no mail; counts only if ``names_email``.
    """

    thresholds: tuple[int, ...] | None = None
    email: str | None = None
    names_email: bool = False

    @classmethod
    def of(
        cls, thresholds: Sequence[int] | None, email: str | None, *, names_email: bool
    ) -> SettingsChange:
        """Check what a customer asks for.

        Raises
        ------
        InvalidRequestError
            The thresholds or the address are not what they have to be.
        """
        return cls(
            None if thresholds is None else checked_thresholds(thresholds),
            None if email is None else checked_email(email),
            names_email,
        )

    def applied_to(self, settings: AlertSettings) -> AlertSettings:
        """Return what the settings become; themselves if nothing is different."""
        asked = replace(
            settings,
            thresholds=settings.thresholds if self.thresholds is None else self.thresholds,
            email=self.email if self.names_email else settings.email,
        )
        return settings if asked == settings else replace(asked, version=settings.version + 1)


@dataclass(frozen=True, slots=True)
class Alert:
    """A customer's period reached a threshold.

    Attributes
    ----------
    at
        When that was noticed, on the customer's clock.
    sessions_used, session_limit
        The count that reached it.
    """

    customer_id: str
    period: Period
    threshold: int
    at: datetime
    sessions_used: int
    session_limit: int

    @property
    def alert_id(self) -> str:
        """The one name that an alert of a customer, period and threshold can have."""
        customer = self.customer_id.removeprefix("cus_")
        return f"alr_{customer}_{self.period.name}_{self.threshold:03d}"

    @property
    def sentence(self) -> str:
        """What is told, for a person."""
        return (
            f"{self.threshold} % of the sessions of {self.period} are used:"
            f" {self.sessions_used:,} of {self.session_limit:,}."
        )


def reaches(threshold: int, sessions_used: int, session_limit: int) -> bool:
    """Whether so many sessions are a threshold's share of the limit.

    Where nothing is used nothing is reached, also where the limit is zero.
    """
    return sessions_used > 0 and sessions_used * 100 >= session_limit * threshold


def due(settings: AlertSettings, sessions_used: int, session_limit: int) -> tuple[int, ...]:
    """Return the thresholds that a count reaches, from the lowest to the highest."""
    return tuple(t for t in settings.thresholds if reaches(t, sessions_used, session_limit))


def first_reached(settings: AlertSettings, counts: Iterable[PeriodUsage]) -> dict[int, PeriodUsage]:
    """Return the thresholds that any of a period's counts reaches, each with the least that does.

    The order of the counts makes no difference.
    """
    found: dict[int, PeriodUsage] = {}
    for count in sorted(counts, key=lambda count: (count.sessions_used, -count.session_limit)):
        for threshold in due(settings, count.sessions_used, count.session_limit):
            found.setdefault(threshold, count)
    return found


def checked_thresholds(thresholds: Sequence[int]) -> tuple[int, ...]:
    """Return thresholds in their order.

    Raises
    ------
    InvalidRequestError
        They are none, too many, out of bounds, or one is named twice.
    """
    if not 1 <= len(thresholds) <= MAX_THRESHOLDS:
        raise _bad_thresholds(
            f"thresholds must be 1 to {MAX_THRESHOLDS} whole percents.",
            {"minimum_items": 1, "maximum_items": MAX_THRESHOLDS},
        )
    if any(not LOWEST_THRESHOLD <= t <= HIGHEST_THRESHOLD for t in thresholds):
        raise _bad_thresholds(
            f"Each threshold must be from {LOWEST_THRESHOLD} to {HIGHEST_THRESHOLD} percent.",
            {"minimum": LOWEST_THRESHOLD, "maximum": HIGHEST_THRESHOLD},
        )
    if len(set(thresholds)) < len(thresholds):
        raise _bad_thresholds("A threshold is named twice.", {})
    return tuple(sorted(thresholds))


def checked_email(address: str) -> str:
    """Return an address to which mail can be sent.

    Raises
    ------
    InvalidRequestError
        It is none, or more than one.
    """
    well_formed = len(address) <= MAX_EMAIL_LENGTH and _EMAIL.fullmatch(address) is not None
    if not well_formed or address.index("@") > _MAX_LOCAL_PART:
        raise InvalidRequestError(
            "email is not an address to which mail can be sent.",
            details={
                "field": "email",
                "hint": "Give one address such as ada@example.com, or null for no mail.",
            },
        )
    return address


def _bad_thresholds(problem: str, bounds: Mapping[str, int]) -> InvalidRequestError:
    return InvalidRequestError(
        problem,
        details={
            "field": "thresholds",
            **bounds,
            "hint": "Give the percents of the session limit to be told of, such as [75, 90, 95].",
        },
    )
