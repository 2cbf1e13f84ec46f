"""Rule A1: each threshold once for a customer and period, whatever the stream does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstack_core.adapters.dynamodb_usage import encode_usage
from flowstack_core.domain.alerts import Alert, AlertSettings, SettingsChange, due
from flowstack_core.domain.errors import ConflictError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.events.usage_stream import watched_counts
from flowstack_core.services.alerts import AlertService, ThresholdWatch
from flowstack_core.services.ports.alerts import AlertStore
from flowstack_core.services.ports.surroundings import CustomerClocks
from tests.support.batch_events import stream_record
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, FixedClock, World
from tests.support.faulty import Fault, Faults, FunctionKilled, Killed, Unreachable
from tests.support.http_events import LambdaContext
from tests.support.in_memory import Tables
from tests.support.in_memory_alerts import InMemoryAlertStore


def count(
    used: int, limit: int = 100, customer_id: str = "cus_1", period: Period = NOVEMBER
) -> PeriodUsage:
    """Return a counter as it stood at some moment."""
    return PeriodUsage(customer_id, period, used, limit, 0, True, Tier.STARTER, 2_900, 1)


def record(image: PeriodUsage, number: int) -> dict[str, Any]:
    """Return the stream's record of a counter that moved."""
    return stream_record(number, "MODIFY", after=encode_usage(image))


class Recorded:
    """A store of alerts that remembers what it was asked."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self.asked: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.asked.append((name, arguments))
            return getattr(self._store, name)(*arguments)

        return call


class Stream:
    """Thresholds functions, each an environment of its own, over one store."""

    def __init__(self, clock: CustomerClocks | None = None) -> None:
        self.tables = Tables()
        self.clock = clock or FixedClock()
        self.store = Recorded(InMemoryAlertStore(self.tables))
        self.environments = [self._environment(), self._environment()]

    def _environment(self, faults: Fault | None = None) -> Any:
        store = cast("AlertStore", self.store)
        watch = ThresholdWatch(store if faults is None else faults.wrap(store), self.clock)
        return watched_counts(lambda: watch)

    def deliver(
        self, *images: PeriodUsage, environment: int = 0, faults: Fault | None = None
    ) -> list[int]:
        """Deliver a batch; return the places in it that were reported as failed."""
        handler = self.environments[environment] if faults is None else self._environment(faults)
        records = [record(image, number) for number, image in enumerate(images)]
        answer = handler({"Records": records}, LambdaContext())
        return [int(failure["itemIdentifier"]) for failure in answer["batchItemFailures"]]

    def thresholds(self, customer_id: str = "cus_1", period: Period = NOVEMBER) -> list[int]:
        """Return the thresholds of the alerts that are kept."""
        found = InMemoryAlertStore(self.tables).alerts(customer_id, period)
        return [alert.threshold for alert in found]

    def asked_for(self, name: str) -> list[Any]:
        """Return the arguments of all calls of an operation."""
        return [arguments for asked, arguments in self.store.asked if asked == name]


@pytest.fixture
def stream() -> Stream:
    return Stream()


# --- once each -----------------------------------------------------------------------------------


def test_a1_each_start_past_a_threshold_alerts_once(stream: Stream) -> None:
    seen = []
    for used in range(70, 101):
        stream.deliver(count(used))
        seen.append((used, tuple(stream.thresholds())))
    changes = [seen[n] for n in range(1, len(seen)) if seen[n][1] != seen[n - 1][1]]
    assert changes == [(75, (75,)), (90, (75, 90)), (95, (75, 90, 95))]


def test_a1_a_batch_that_jumps_past_several_thresholds_alerts_for_each(stream: Stream) -> None:
    assert stream.deliver(*(count(used) for used in range(70, 101))) == []
    assert stream.thresholds() == [75, 90, 95]
    used = {alert.threshold: alert.sessions_used for alert in stream.tables.alerts.values()}
    assert used == {75: 75, 90: 90, 95: 95}


def test_a1_records_that_come_again_alert_no_more(stream: Stream) -> None:
    stream.deliver(count(92))
    kept = dict(stream.tables.alerts)
    cast("FixedClock", stream.clock).advance(hours=5)
    for environment in (0, 1):
        stream.deliver(count(92), count(80), count(93), environment=environment)
    assert stream.tables.alerts == kept


def test_a1_the_highest_count_matters_whatever_came_before_it(stream: Stream) -> None:
    stream.deliver(count(96), count(71), count(70))
    assert stream.thresholds() == [75, 90, 95]


def test_a1_customers_and_periods_have_alerts_of_their_own(stream: Stream) -> None:
    stream.deliver(
        count(75), count(90, customer_id="cus_2"), count(95, period=DECEMBER), count(1, 1000)
    )
    assert stream.thresholds() == [75]
    assert stream.thresholds("cus_2") == [75, 90]
    assert stream.thresholds(period=DECEMBER) == [75, 90, 95]


def test_a1_a_release_takes_no_alert_back_and_the_next_start_is_no_news(stream: Stream) -> None:
    for used in (75, 74, 75, 76):
        stream.deliver(count(used), environment=used % 2)
    assert stream.thresholds() == [75]


def test_a1_a_credit_or_an_upgrade_moves_the_limit_and_alerts_not_again(stream: Stream) -> None:
    stream.deliver(count(75, 100))
    stream.deliver(count(76, 200))
    assert stream.thresholds() == [75]
    stream.deliver(count(150, 200), environment=1)
    assert stream.thresholds() == [75]
    stream.deliver(count(180, 200), environment=1)
    assert stream.thresholds() == [75, 90]


def test_a1_a_limit_that_is_lowered_below_the_count_alerts(stream: Stream) -> None:
    stream.deliver(count(50, 100))
    stream.deliver(count(50, 50))
    assert stream.thresholds() == [75, 90, 95]


def test_a1_a_limit_of_zero_is_nothing_to_tell(stream: Stream) -> None:
    stream.deliver(count(0, 0))
    assert stream.thresholds() == []


def test_a1_what_is_written_to_a_closed_period_is_no_count(stream: Stream) -> None:
    stream.deliver(replace(count(99), closed_at=NOON))
    assert stream.thresholds() == []
    # The counts before it was closed may arrive after it was.
    stream.deliver(count(99))
    assert stream.thresholds() == [75, 90, 95]


# --- settings ------------------------------------------------------------------------------------


def test_a1_a_threshold_that_is_added_when_it_is_passed_alerts_at_the_next_count(
    stream: Stream,
) -> None:
    stream.deliver(count(80))
    stream.tables.alert_settings["cus_1"] = AlertSettings((50, 75, 99), version=1)
    assert stream.thresholds() == [75]
    stream.deliver(count(81))
    assert stream.thresholds() == [50, 75]


def test_a1_a_threshold_that_is_taken_away_and_added_again_alerts_not_again(
    stream: Stream,
) -> None:
    stream.deliver(count(80))
    stream.tables.alert_settings["cus_1"] = AlertSettings((90,), version=1)
    stream.deliver(count(81))
    stream.tables.alert_settings["cus_1"] = AlertSettings((75, 90), version=2)
    kept = dict(stream.tables.alerts)
    stream.deliver(count(82), environment=1)
    assert stream.tables.alerts == kept


def test_a1_an_alert_is_dated_by_the_customers_clock_and_its_period_is_the_counters() -> None:
    class Clocks:
        def for_customer(self, customer_id: str) -> FixedClock:
            return FixedClock(NOON + timedelta(days=40) if customer_id == "cus_1" else NOON)

    stream = Stream(Clocks())
    stream.deliver(count(75, period=DECEMBER), count(75, customer_id="cus_2"))
    at = {alert.customer_id: (alert.period, alert.at) for alert in stream.tables.alerts.values()}
    assert at == {"cus_1": (DECEMBER, NOON + timedelta(days=40)), "cus_2": (NOVEMBER, NOON)}


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("survived", range(4))
def test_a1_a_watch_that_is_killed_at_any_call_has_its_records_again_and_alerts_once(
    survived: int, applied: bool, stream: Stream
) -> None:
    with pytest.raises(FunctionKilled):
        stream.deliver(count(100), faults=Killed(survived, applied=applied))
    kept = dict(stream.tables.alerts)
    stream.deliver(count(100), environment=1)
    assert stream.thresholds() == [75, 90, 95]
    assert {name: stream.tables.alerts[name] for name in kept} == kept


def test_a1_a_customer_that_fails_is_reported_whole_and_stops_no_other(stream: Stream) -> None:
    images = (count(76), count(80, customer_id="cus_2"), count(91))

    class OfOne:
        def __init__(self) -> None:
            self.failed = 0

        def for_customer(self, customer_id: str) -> FixedClock:
            if customer_id == "cus_1":
                self.failed += 1
                raise RuntimeError("no clock")
            return FixedClock()

    stream.clock = OfOne()
    stream.environments[0] = stream._environment()
    assert stream.deliver(*images) == [0, 2]
    assert (stream.thresholds(), stream.thresholds("cus_2")) == ([], [75])
    assert stream.deliver(*images, environment=1) == []
    assert (stream.thresholds(), stream.thresholds("cus_2")) == ([75, 90], [75])


def test_a1_an_alert_that_could_not_be_kept_is_tried_again_by_the_same_function(
    stream: Stream,
) -> None:
    unreachable = Unreachable("keep")
    watch = ThresholdWatch(unreachable.wrap(cast("AlertStore", stream.store)), stream.clock)
    stream.environments[0] = watched_counts(lambda: watch)
    assert stream.deliver(count(0), count(75, customer_id="cus_2")) == [1]
    unreachable.active = False
    stream.deliver(count(75, customer_id="cus_2"))
    assert stream.thresholds("cus_2") == [75]


def test_a1_where_settings_cannot_be_read_the_batch_comes_again(stream: Stream) -> None:
    with pytest.raises(BatchProcessingError):
        stream.deliver(count(80), count(99), faults=Unreachable("settings_of"))
    assert stream.thresholds() == []
    stream.deliver(count(80), count(99))
    assert stream.thresholds() == [75, 90, 95]


def test_a_count_that_cannot_be_read_fails_by_itself(stream: Stream) -> None:
    broken = record(count(99, customer_id="cus_2"), 1)
    del broken["dynamodb"]["NewImage"]["tier"]
    event = {"Records": [record(count(80), 0), broken]}
    answer = stream.environments[0](event, LambdaContext())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert stream.thresholds() == [75]


def test_other_changes_are_no_counts(stream: Stream) -> None:
    removed = {**record(count(99), 0), "eventName": "REMOVE"}
    other = record(count(99), 1)
    other["dynamodb"]["Keys"]["sk"] = {"S": "STATEMENT#2026-11"}
    answer = stream.environments[0]({"Records": [removed, other]}, LambdaContext())
    assert answer == {"batchItemFailures": []}
    assert stream.store.asked == []


def test_a_customer_that_is_erased_leaves_no_alert(stream: Stream) -> None:
    stream.tables.erased.add("cus_1")
    assert stream.deliver(count(99)) == []
    assert stream.tables.alerts == {}


IMAGES = st.builds(
    count,
    st.integers(0, 25),
    st.sampled_from([0, 1, 10, 20]),
    st.sampled_from(["cus_1", "cus_2"]),
    st.sampled_from([NOVEMBER, DECEMBER]),
)


@st.composite
def deliveries(
    draw: st.DrawFn, images: list[PeriodUsage]
) -> list[tuple[list[PeriodUsage], int, Fault | None]]:
    """Return batches, for one environment or another, some cut short: each image comes whole once.

    Between them come repeats in any order; batches that are killed or fail come again.
    """
    found: list[tuple[list[PeriodUsage], int, Fault | None]] = []
    left = draw(st.permutations(images))
    while left:
        size = draw(st.integers(1, len(left)))
        batch, left = list(left[:size]), left[size:]
        fault = draw(st.sampled_from(["none", "killed before", "killed after", "unreliable"]))
        survived = draw(st.integers(0, 4))
        if fault.startswith("killed"):
            found.append((batch, 0, Killed(survived, applied=fault == "killed after")))
        elif fault == "unreliable":
            found.append((batch, 0, Faults(seed=survived, rate=0.5)))
        repeats = draw(st.lists(st.sampled_from(images), max_size=3))
        found.append((batch + repeats, draw(st.integers(0, 1)), None))
    return found


@settings(max_examples=150)
@given(st.lists(IMAGES, min_size=1, max_size=12), st.data())
def test_a1_each_threshold_alerts_exactly_once_if_and_only_if_a_count_ever_reached_it(
    images: list[PeriodUsage], data: st.DataObject
) -> None:
    stream = Stream()
    stream.tables.alert_settings["cus_2"] = AlertSettings((1, 50, 100), version=1)
    first: dict[str, Alert] = {}
    for number, (batch, environment, faults) in enumerate(data.draw(deliveries(images))):
        cast("FixedClock", stream.clock).move_to(NOON + timedelta(seconds=number))
        try:
            stream.deliver(*batch, environment=environment, faults=faults)
        except (BatchProcessingError, FunctionKilled):
            # Powertools fails the call if all of a batch failed.
            undisturbed = faults is None
            assert not undisturbed
        for alert_id, alert in stream.tables.alerts.items():
            assert first.setdefault(alert_id, alert) == alert
    assert _thresholds(first.values()) == {
        (image.customer_id, image.period, threshold)
        for image in images
        for threshold in due(
            stream.tables.alert_settings.get(image.customer_id, AlertSettings()),
            image.sessions_used,
            image.session_limit,
        )
    }
    for alert in first.values():
        assert (alert.sessions_used, alert.session_limit) in {
            (image.sessions_used, image.session_limit) for image in images
        }


def _thresholds(alerts: Iterable[Alert]) -> set[tuple[str, Period, int]]:
    return {(alert.customer_id, alert.period, alert.threshold) for alert in alerts}


# --- what it costs -------------------------------------------------------------------------------


def test_below_the_lowest_threshold_that_there_can_be_nothing_is_read(stream: Stream) -> None:
    stream.deliver(*(count(used, 1_000) for used in range(10)))
    assert stream.store.asked == []
    stream.deliver(count(10, 1_000))
    assert stream.asked_for("settings_of") == [(["cus_1"],)]


def test_a_batch_reads_settings_once_and_tries_no_alert_twice(stream: Stream) -> None:
    customers = [f"cus_{number}" for number in range(10, 30)]
    for used in range(90, 94):
        stream.deliver(*(count(n, customer_id=c) for c in customers for n in (used, used - 1)))
    assert stream.asked_for("settings_of") == [(customers,)] * 4
    assert len(stream.asked_for("keep")) == 2 * len(customers)


def test_what_is_remembered_can_be_forgotten(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowstack_core.services.alerts._REMEMBERED", 1)
    for used in (91, 92, 93):
        stream.deliver(count(used))
    assert stream.thresholds() == [75, 90]


# --- the settings' service -----------------------------------------------------------------------


def test_a_change_is_on_record_with_who_made_it() -> None:
    world = World()
    change = SettingsChange.of([50], "ada@example.com", names_email=True)
    overview = world.alert_service.change("key_7", "cus_1", change)
    assert overview.settings == AlertSettings((50,), "ada@example.com", 1)
    (audit,) = world.tables.audits.values()
    assert (audit.actor, audit.action) == ("key_7", "alerts.set")
    assert audit.before == {"thresholds": [75, 90, 95], "email": False, "version": 0}
    assert audit.after == {"thresholds": [50], "email": True, "version": 1}
    assert world.alert_service.change("key_7", "cus_1", change) == overview
    assert len(world.tables.audits) == 1


def test_two_who_change_different_settings_at_once_both_have_their_way() -> None:
    world = World()

    class Raced(Recorded):
        def settings(self, customer_id: str) -> AlertSettings:
            found = self._store.settings(customer_id)
            if not self.asked:
                self.asked.append(("raced", ()))
                other = SettingsChange.of([10], None, names_email=False)
                world.alert_service.change("key_2", customer_id, other)
            return found

    store = cast("AlertStore", Raced(world.alerts))
    service = AlertService(store, world.clock, world.clock, bytes)
    change = SettingsChange.of(None, "ada@example.com", names_email=True)
    changed = service.change("key_1", "cus_1", change).settings
    assert (changed.thresholds, changed.email, changed.version) == ((10,), "ada@example.com", 2)


def test_settings_that_others_keep_changing_are_a_conflict() -> None:
    world = World()

    class Lost(Recorded):
        def replace_settings(self, *arguments: Any) -> bool:
            return False

    store = cast("AlertStore", Lost(world.alerts))
    service = AlertService(store, world.clock, world.clock, bytes)
    with pytest.raises(ConflictError):
        service.change("key_1", "cus_1", SettingsChange.of([1], None, names_email=False))


def test_the_overview_is_of_the_present_period_unless_one_is_named() -> None:
    world = World()
    december = Alert("cus_1", DECEMBER, 75, NOON, 75, 100)
    november = Alert("cus_1", NOVEMBER, 90, NOON, 90, 100)
    for alert in (december, november):
        world.alerts.keep(alert)
    assert world.alert_service.overview("cus_1").alerts == [november]
    assert world.alert_service.overview("cus_1", DECEMBER).alerts == [december]
    assert world.alert_service.overview("cus_2").alerts == []
