"""Fair use counts requests a minute and managed tokens a day (F1)."""

from __future__ import annotations

from datetime import timedelta

from flowstack_core.domain.fair_use import FairUseLimit, FairUseMeter
from flowstack_core.domain.plans import FairUse
from tests.support.fakes import at

LIMITS = FairUse(requests_per_minute=2, managed_tokens_per_day=100)
NOW = at("2026-11-15T12:00:10.500")


def test_f1_the_request_after_the_last_of_a_minute_is_refused_until_the_next_minute() -> None:
    meter = FairUseMeter()
    assert meter.admit("cus_1", LIMITS, NOW, managed=True) is None
    assert meter.admit("cus_1", LIMITS, NOW, managed=True) is None
    refusal = meter.admit("cus_1", LIMITS, NOW, managed=True)
    assert refusal is not None
    assert refusal.limit is FairUseLimit.REQUESTS_PER_MINUTE
    assert (refusal.allowed, refusal.retry_after_seconds) == (2, 50)
    again = NOW + timedelta(seconds=refusal.retry_after_seconds)
    assert meter.admit("cus_1", LIMITS, again, managed=True) is None


def test_f1_retry_after_is_never_zero() -> None:
    meter = FairUseMeter()
    limits = FairUse(requests_per_minute=0, managed_tokens_per_day=0)
    refusal = meter.admit("cus_1", limits, at("2026-11-15T12:00:59.999999"), managed=False)
    assert refusal is not None
    assert refusal.retry_after_seconds == 1


def test_f1_managed_tokens_are_refused_until_the_next_day() -> None:
    meter = FairUseMeter()
    meter.record_managed_tokens("cus_1", 99, NOW)
    assert meter.admit("cus_1", LIMITS, NOW, managed=True) is None
    meter.record_managed_tokens("cus_1", 1, NOW)
    refusal = meter.admit("cus_1", LIMITS, NOW, managed=True)
    assert refusal is not None
    assert refusal.limit is FairUseLimit.MANAGED_TOKENS_PER_DAY
    assert NOW + timedelta(seconds=refusal.retry_after_seconds) >= at("2026-11-16T00:00:00")
    assert meter.admit("cus_1", LIMITS, at("2026-11-16T00:00:00"), managed=True) is None


def test_f1_managed_tokens_do_not_stop_a_customers_own_key() -> None:
    meter = FairUseMeter()
    meter.record_managed_tokens("cus_1", 1_000, NOW)
    assert meter.admit("cus_1", LIMITS, NOW, managed=False) is None


def test_f1_a_refused_request_is_not_counted() -> None:
    meter = FairUseMeter()
    meter.record_managed_tokens("cus_1", 100, NOW)
    for _ in range(5):
        assert meter.admit("cus_1", LIMITS, NOW, managed=True) is not None
    assert meter.admit("cus_1", LIMITS, NOW, managed=False) is None
    assert meter.admit("cus_1", LIMITS, NOW, managed=False) is None


def test_f1_customers_do_not_share_a_meter() -> None:
    meter = FairUseMeter()
    for _ in range(3):
        meter.admit("cus_1", LIMITS, NOW, managed=True)
    assert meter.admit("cus_2", LIMITS, NOW, managed=True) is None


def test_f1_the_meter_remembers_a_bounded_number_of_customers_and_forgets_the_quietest() -> None:
    meter = FairUseMeter()
    one = FairUse(requests_per_minute=1, managed_tokens_per_day=1)
    assert meter.admit("quiet", one, NOW, managed=False) is None
    for number in range(9_999):
        meter.admit(f"cus_{number}", one, NOW, managed=False)
    assert meter.admit("quiet", one, NOW, managed=False) is not None
    meter.admit("one more", one, NOW, managed=False)
    assert meter.admit("quiet", one, NOW, managed=False) is not None
    assert meter.admit("cus_0", one, NOW, managed=False) is None
