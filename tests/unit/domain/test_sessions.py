"""When a session is alive, held and releasable (S2, S5, P4)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.sessions import Conversation, Session
from tests.support.fakes import NOON, NOVEMBER


def session(
    *,
    last_activity_at: datetime = NOON,
    processed_at: datetime | None = None,
    managed_until: datetime | None = None,
    in_flight: dict[str, datetime] | None = None,
) -> Session:
    return Session(
        session_id="ses_1",
        conversation=Conversation("cus_1", "agent", "default"),
        period=NOVEMBER,
        started_at=NOON,
        last_activity_at=last_activity_at,
        processed_at=processed_at,
        managed_until=managed_until,
        in_flight=in_flight or {},
    )


@pytest.mark.parametrize(
    ("gap", "alive"),
    [
        (timedelta(0), True),
        (timedelta(minutes=29, seconds=59, milliseconds=999), True),
        (timedelta(minutes=29, seconds=59, microseconds=999_999), True),
        (timedelta(minutes=30), False),
        (timedelta(minutes=30, microseconds=1), False),
        (timedelta(days=2), False),
    ],
)
def test_s2_a_gap_of_30_minutes_ends_a_session_and_a_shorter_one_does_not(
    gap: timedelta, alive: bool
) -> None:
    assert session().alive(NOON + gap) is alive


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=40)))
def test_s2_ends_at_is_the_first_instant_at_which_a_session_is_over(gap: timedelta) -> None:
    subject = session()
    assert subject.alive(NOON + gap) == (NOON + gap < subject.ends_at)


def test_s2_a_message_whose_clock_is_behind_belongs_to_the_session() -> None:
    assert session().alive(NOON - timedelta(seconds=1))


def test_s5_a_session_is_held_until_a_message_was_processed() -> None:
    assert session().held
    assert not session(processed_at=NOON).held


def test_s5_a_held_session_with_nothing_running_is_releasable() -> None:
    assert session().releasable(NOON)


def test_s5_a_running_attempt_keeps_a_session_until_it_cannot_run_any_more() -> None:
    subject = session(in_flight={"dead": NOON, "running": NOON + timedelta(seconds=34)})
    assert not subject.releasable(NOON + timedelta(seconds=33, microseconds=999_999))
    assert subject.releasable(NOON + timedelta(seconds=34))


def test_s5_a_processed_session_is_never_releasable() -> None:
    assert not session(processed_at=NOON).releasable(NOON + timedelta(days=1))


def test_p4_managed_models_are_allowed_until_the_period_they_were_granted_for_ends() -> None:
    subject = session(managed_until=NOVEMBER.end)
    assert subject.allows_managed(NOVEMBER.end - timedelta(microseconds=1))
    assert not subject.allows_managed(NOVEMBER.end)


def test_p4_a_session_without_a_grant_allows_no_managed_models() -> None:
    assert not session().allows_managed(NOON)
