"""What every store of alerts must do, in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count

from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_alerts import DynamoDBAlertStore, alert_key
from flowstack_core.adapters.dynamodb_customer_data import DynamoDBCustomerData
from flowstack_core.domain.alerts import Alert, AlertSettings
from flowstack_core.domain.data_rights import Erasure, Scope
from flowstack_core.domain.periods import Period
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.failures import StoreContentionError
from tests.contract.conftest import Stores
from tests.support.fakes import DECEMBER, NOON, NOVEMBER

_numbers = count(1)


def audit_of(stores: Stores) -> AuditRecord:
    """Return a record nobody else has."""
    name = f"aud_alert{next(_numbers):06d}"
    return AuditRecord(stores.customer_id, name, NOON, "key_1", "alerts.set", None, {})


def alert_of(stores: Stores, threshold: int = 75, period: Period = NOVEMBER) -> Alert:
    return Alert(stores.customer_id, period, threshold, NOON, threshold, 100)


def change(stores: Stores, before: AlertSettings, after: AlertSettings) -> bool:
    return stores.alerts.replace_settings(stores.customer_id, before, after, audit_of(stores))


# --- alerts --------------------------------------------------------------------------------------


def test_a1_of_an_alert_the_first_is_kept(stores: Stores) -> None:
    first = alert_of(stores)
    later = replace(first, at=NOON + timedelta(hours=1), sessions_used=80, session_limit=101)
    assert stores.alerts.keep(first) == first
    assert stores.alerts.keep(later) == first
    assert stores.alerts.keep(first) == first
    assert stores.alerts.alerts(stores.customer_id, NOVEMBER) == [first]


def test_a1_an_alert_that_was_told_of_is_not_kept_anew(stores: Stores) -> None:
    first = alert_of(stores)
    stores.alerts.keep(first)
    stores.alerts.mark_told(first, "bus")
    assert stores.alerts.keep(replace(first, sessions_used=99)) == first
    assert stores.alerts.told(first) == frozenset({"bus"})


def test_a1_of_many_who_keep_an_alert_at_once_one_does(stores: Stores) -> None:
    alerts = [replace(alert_of(stores), sessions_used=75 + n) for n in range(12)]

    def keep(alert: Alert) -> Alert | None:
        while True:
            try:
                return stores.alerts.keep(alert)
            except StoreContentionError:
                continue

    with ThreadPoolExecutor(12) as pool:
        kept = set(pool.map(keep, alerts))
    assert len(kept) == 1
    assert stores.alerts.alerts(stores.customer_id, NOVEMBER) == list(kept)


def test_the_alerts_of_a_period_are_listed_by_threshold_and_are_nobody_elses(
    stores: Stores,
) -> None:
    for threshold, period in ((100, NOVEMBER), (9, NOVEMBER), (75, NOVEMBER), (75, DECEMBER)):
        stores.alerts.keep(alert_of(stores, threshold, period))
    stores.alerts.keep(replace(alert_of(stores), customer_id=f"{stores.customer_id}0"))
    listed = stores.alerts.alerts(stores.customer_id, NOVEMBER)
    assert [alert.threshold for alert in listed] == [9, 75, 100]
    assert stores.alerts.alerts(stores.customer_id, DECEMBER) == [alert_of(stores, 75, DECEMBER)]


def test_a2_who_was_told_is_noted_channel_by_channel(stores: Stores) -> None:
    alert = alert_of(stores)
    stores.alerts.keep(alert)
    assert stores.alerts.told(alert) == frozenset()
    for channel in ("bus", "topic", "bus"):
        stores.alerts.mark_told(alert, channel)
    assert stores.alerts.told(alert) == frozenset({"bus", "topic"})


def test_a2_noting_it_makes_no_alert_that_was_not_kept(stores: Stores) -> None:
    alert = alert_of(stores)
    stores.alerts.mark_told(alert, "bus")
    assert stores.alerts.told(alert) is None
    assert stores.alerts.alerts(stores.customer_id, NOVEMBER) == []


def test_of_a_customer_that_is_being_erased_no_alert_is_kept(
    dynamodb: DynamoDBClient, stores: Stores
) -> None:
    customer_id = f"{stores.customer_id}erased"
    store = DynamoDBAlertStore(dynamodb, "accounts", "usage")
    earlier = Alert(customer_id, NOVEMBER, 75, NOON, 75, 100)
    assert store.keep(earlier) == earlier
    data = DynamoDBCustomerData(dynamodb, {"accounts": "accounts"})
    erasure = Erasure(Scope(customer_id, NOVEMBER, NOVEMBER), "operator", NOON)
    assert data.begin_erasure(erasure)
    assert store.keep(replace(earlier, threshold=90)) is None
    assert store.alerts(customer_id, NOVEMBER) == [earlier]


def test_an_alert_expires_long_after_its_period(dynamodb: DynamoDBClient) -> None:
    alert = Alert("cus_expiring", NOVEMBER, 75, NOON, 75, 100)
    DynamoDBAlertStore(dynamodb, "accounts", "usage").keep(alert)
    key = alert_key(alert.customer_id, alert.period, alert.threshold)
    item = dynamodb.get_item(TableName="usage", Key=key)["Item"]
    lifetime = int(item["ttl"]["N"]) - NOVEMBER.end.timestamp()
    assert lifetime == timedelta(days=400).total_seconds()


# --- settings ------------------------------------------------------------------------------------


def test_who_set_nothing_has_the_defaults(stores: Stores) -> None:
    assert stores.alerts.settings(stores.customer_id) == AlertSettings()


def test_settings_are_found_as_they_were_set(stores: Stores) -> None:
    after = AlertSettings((1, 50, 100), "ada@example.com", 1)
    assert change(stores, AlertSettings(), after)
    assert stores.alerts.settings(stores.customer_id) == after
    without = AlertSettings((50,), None, 2)
    assert change(stores, after, without)
    assert stores.alerts.settings(stores.customer_id) == without


def test_of_two_changes_of_the_same_settings_the_second_is_refused(stores: Stores) -> None:
    one, other = AlertSettings((1,), version=1), AlertSettings((2,), version=1)
    assert change(stores, AlertSettings(), one)
    assert not change(stores, AlertSettings(), other)
    assert change(stores, one, replace(other, version=2))
    assert not change(stores, one, AlertSettings((3,), version=2))
    assert stores.alerts.settings(stores.customer_id) == AlertSettings((2,), version=2)


def test_a_change_that_is_repeated_under_its_audit_record_is_made_once(stores: Stores) -> None:
    audit = audit_of(stores)
    after = AlertSettings((1,), version=1)
    for _ in range(2):
        assert stores.alerts.replace_settings(stores.customer_id, AlertSettings(), after, audit)
    trail = stores.accounts.audit_trail(stores.customer_id, 10)
    assert [record.audit_id for record in trail] == [audit.audit_id]


def test_the_settings_of_many_are_found_together(stores: Stores) -> None:
    mine = AlertSettings((1,), "ada@example.com", 1)
    assert change(stores, AlertSettings(), mine)
    others = [f"{stores.customer_id}x{number}" for number in range(130)]
    found = stores.alerts.settings_of([*others, stores.customer_id])
    assert found == {stores.customer_id: mine, **dict.fromkeys(others, AlertSettings())}
    assert stores.alerts.settings_of([]) == {}
