"""Alerts and ceilings: what the streams' functions make of what happens, and whom they tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import Any

from flowstack_core.adapters.dynamodb_alerts import (
    DynamoDBAlertStore,
    decode_alert,
    decode_settings,
)
from flowstack_core.adapters.dynamodb_closing import decode_statement
from flowstack_core.adapters.dynamodb_own_limits import DynamoDBOwnLimitsStore, decode_budget_alert
from flowstack_core.adapters.dynamodb_rollups import DynamoDBRollupStore
from flowstack_core.adapters.dynamodb_sessions import decode_session
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore, decode_usage
from flowstack_core.adapters.eventbridge import EventBridgePublisher
from flowstack_core.adapters.ses_alerts import SesAlertMail
from flowstack_core.adapters.sns_alerts import SnsAlertTopic
from flowstack_core.domain.alerts import SettingsChange, reaches
from flowstack_core.domain.own_limits import CeilingAction
from flowstack_core.domain.periods import Period
from flowstack_core.domain.prices import cost
from flowstack_core.domain.rollups import merged
from flowstack_core.domain.sessions import Session
from flowstack_core.events.batches import LambdaFunction
from flowstack_core.events.rollup_stream import grown_sessions
from flowstack_core.events.usage_stream import announcements, watched_counts
from flowstack_core.services.alerts import AlertService, ThresholdWatch
from flowstack_core.services.announcing import Announcer
from flowstack_core.services.documents import period_closed_event, usage_alert_event
from flowstack_core.services.own_limits import BudgetService
from flowstack_core.services.ports.webhooks import WebhookOutbox
from flowstack_core.services.rollups import RollupService
from tests.faults.plans import GONE
from tests.faults.stage import NO_ANSWER, Stage
from tests.faults.streams import (
    Concerns,
    Item,
    Listener,
    Place,
    of_answers,
    of_counts,
    of_news,
)
from tests.support.in_memory_rollups import slices_of

ALERTS, CEILINGS, ROLLUPS = "alerts", "ceilings", "rollups"
BREAKAGES = ((), (), ("events",), ("sns",), ("sqs", "sesv2"))
THRESHOLDS = ((75, 90, 95), (50, 75, 95), (75, 95))
ALWAYS = (date(2020, 1, 1), date(2040, 1, 1))
ADDRESSES = ("ada@example.com", "ada@example.org")
CEILINGS_CENTS = (None, 2_000, 5_000, 20_000)

_BATCH_SECONDS = 20.0


class Alerts:
    """What the customer wants to be told of, and everything that tells it."""

    def __init__(self, stage: Stage, outbox: WebhookOutbox) -> None:
        self._stage, tables, client = stage, stage.tables, stage.dynamodb
        self._rollups = DynamoDBRollupStore(client, tables["usage"], tables["sessions"])
        self._store = DynamoDBAlertStore(client, tables["accounts"], tables["usage"])
        clock = stage.clock
        self._settings = AlertService(self._store, clock, clock, stage.chance("settings").randbytes)
        self._budgets = BudgetService(
            DynamoDBOwnLimitsStore(client, tables["accounts"], tables["usage"]),
            DynamoDBUsageStore(client, tables["usage"], tables["accounts"]),
            self._rollups,
            cost,
            clock,
            clock,
            stage.chance("limits").randbytes,
            stage.retrier,
        )
        self._listen(outbox)

    def _listen(self, outbox: WebhookOutbox) -> None:
        """Put the functions behind the streams."""
        stage = self._stage
        rollups = RollupService(self._rollups, self._budgets.evaluate, stage.retrier)
        announcer = Announcer(
            self._store,
            EventBridgePublisher(stage.client("events"), "bus"),
            SnsAlertTopic(stage.client("sns"), "arn:aws:sns:us-east-1:000000000000:alerts"),
            outbox,
            SesAlertMail(stage.client("sesv2"), "flowstack@example.com"),
        )
        grown = grown_sessions(lambda: rollups)
        # A function that was killed remembers nothing.
        watched = watched_counts(lambda: ThresholdWatch(self._store, stage.clock))
        told = announcements(lambda: announcer)

        def listener(workflow: str, concerns: Concerns, function: LambdaFunction) -> Listener:
            return Listener(
                concerns, lambda event: stage.call(workflow, function, event, _BATCH_SECONDS)
            )

        stage.streams.listeners["sessions"] = [listener(ROLLUPS, of_answers, grown)]
        stage.streams.listeners["usage"] = [
            listener(ALERTS, of_counts, watched),
            listener(ALERTS, of_news, told),
        ]

    def begin(self) -> None:
        """Have the customer ask for mail."""
        change = SettingsChange.of(None, ADDRESSES[0], names_email=True)
        self._settings.change(self._stage.key_id, self._stage.customer_id, change)

    # --- what happens ------------------------------------------------------------------------

    def change_settings(self) -> None:
        """Have the customer change where it is told, or of what, and repeat it until it is done."""
        stage = self._stage
        if stage.random.random() < 0.5:
            change = SettingsChange.of(stage.random.choice(THRESHOLDS), None, names_email=False)
        else:
            change = SettingsChange.of(None, stage.random.choice(ADDRESSES), names_email=True)
        stage.deliver(
            ALERTS, lambda: self._settings.change(stage.key_id, stage.customer_id, change)
        )

    def limit_itself(self) -> None:
        """Have the customer set a ceiling, or take it away, and repeat it until it is done."""
        stage = self._stage
        ceiling = stage.random.choice(CEILINGS_CENTS)
        action = stage.random.choice(list(CeilingAction))

        def change() -> None:
            self._budgets.change(
                stage.key_id,
                stage.customer_id,
                lambda limits: replace(limits, monthly_ceiling_cents=ceiling, action=action),
                stage.budget(),
            )

        with suppress(*GONE):
            stage.deliver(CEILINGS, change)

    def look_at_budget(self) -> None:
        """Have the customer look where it stands."""
        stage = self._stage
        with suppress(*NO_ANSWER, *GONE):
            stage.request(CEILINGS, lambda: self._budgets.budget(stage.customer_id, stage.budget()))

    def stream(self) -> None:
        """Deliver something of the streams, while a service may be broken."""
        stage = self._stage
        stage.aws.broken = set(stage.random.choice(BREAKAGES))
        for listener in self._listeners():
            listener.deliver(stage.random)
        stage.aws.broken = set()

    def run_dry(self) -> None:
        """Deliver all that the streams hold, and what follows from it."""
        for _ in range(100):
            if not any(listener.waiting for listener in self._listeners()):
                return
            for listener in self._listeners():
                batch, listener.waiting = listener.waiting, []
                listener.give(batch)
        raise AssertionError("records without end")

    def replay(self) -> None:
        """Deliver everything that was delivered once more, in any order."""
        for listener in self._listeners():
            if not listener.busy:
                again = self._stage.random.sample(listener.given, len(listener.given))
                listener.give(again)

    def _listeners(self) -> Iterator[Listener]:
        for listeners in self._stage.streams.listeners.values():
            yield from listeners

    # --- what is left ------------------------------------------------------------------------

    def check(self, billed: set[str]) -> None:
        """Look at everything that followed from what happened."""
        self._check_rollups(billed)
        self._check_alerts()
        self._check_ceilings()
        aws = self._stage.aws
        for channel in (aws.bus, aws.topic):
            told: dict[str, Any] = {}
            for event in channel:
                assert told.setdefault(event["event_id"], event) == event, "one id, two events"
        assert {event["event_id"] for event in aws.bus} == self.news(), "the bus missed it"

    def _check_rollups(self, billed: set[str]) -> None:
        """Rollups: the days add up to the sessions that are billed, however they were told."""
        latest: dict[str, Session] = {}
        for record in filter(of_answers, self._stage.streams.records):
            session = decode_session(record["dynamodb"]["NewImage"])
            known = latest.get(session.session_id)
            if known is None or session.talk.messages >= known.talk.messages:
                latest[session.session_id] = session
        assert billed <= latest.keys(), "S5: billed without an answer"
        parts = merged(part for name in sorted(billed) for part in slices_of(latest[name]))
        found = self._rollups.slices(self._stage.customer_id, *ALWAYS)
        assert sorted(found, key=repr) == sorted(parts, key=repr), "the days do not add up"

    def _check_alerts(self) -> None:
        """A1, A2: one alert for each threshold that any count reached; everybody heard of each."""
        settings = [
            decode_settings(change.after)
            for change in self._stage.streams.changes("accounts", "ALERT_SETTINGS")
            if change.after is not None
        ]
        always = set.intersection(*(set(one.thresholds) for one in settings))
        ever = set.union(*(set(one.thresholds) for one in settings))
        kept = [decode_alert(item) for item in self._put_once("ALERT#")]
        found = {(alert.period, alert.threshold) for alert in kept}
        assert self._reached(always) <= found <= self._reached(ever), "A1"
        aws = self._stage.aws
        events = [usage_alert_event(alert) for alert in kept]
        ids = {event["event_id"] for event in events}
        assert {event["event_id"] for event in aws.topic} == ids, "A2: the topic missed one"
        for event in events:
            assert event in aws.bus, "A2: the bus was told otherwise"
        texts = [mail["Content"]["Simple"]["Body"]["Text"]["Data"] for mail in aws.mail]
        for alert in kept:
            assert any(alert.alert_id in text for text in texts), "A2: a mail is missing"

    def _reached(self, thresholds: Iterable[int]) -> set[tuple[Period, int]]:
        counts = [
            decode_usage(record["dynamodb"]["NewImage"])
            for record in filter(of_counts, self._stage.streams.records)
        ]
        return {
            (count.period, threshold)
            for count in counts
            for threshold in thresholds
            if count.closed_at is None
            and reaches(threshold, count.sessions_used, count.session_limit)
        }

    def _put_once(self, prefix: str) -> Iterator[Item]:
        """Yield the insertions of items that are put once; what was told never changes."""
        told: dict[Place, Item] = {}
        for change in self._stage.streams.changes("usage", prefix):
            after = dict(change.after or {})
            after.pop("told", None)
            assert told.setdefault(change.place, after) == after, f"{change.place} changed"
            if change.before is None:
                yield after

    def _check_ceilings(self) -> None:
        """Ceilings: reached is told once a period, and nothing starts while a block stands."""
        told = [decode_budget_alert(item) for item in self._put_once("BUDGET#")]
        assert len(told) == len({alert.event_id for alert in told}), "a ceiling was told twice"
        for record in filter(of_counts, self._stage.streams.records):
            change = record["dynamodb"]
            if "budget_block" in change["OldImage"]:
                before, after = (decode_usage(change[image]) for image in ("OldImage", "NewImage"))
                assert after.sessions_used <= before.sessions_used, "started beyond a ceiling"

    def news(self) -> set[str]:
        """Return the ids of everything that is to be told."""
        told = filter(of_news, self._stage.streams.records)
        return {_event_id(record["dynamodb"]["NewImage"]) for record in told}


def _event_id(image: Item) -> str:
    if image["sk"]["S"].startswith("BUDGET#"):
        return decode_budget_alert(image).event_id
    if image["sk"]["S"].startswith("ALERT#"):
        return str(usage_alert_event(decode_alert(image))["event_id"])
    return str(period_closed_event(decode_statement(image))["event_id"])
