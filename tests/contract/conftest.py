"""The stores under contract: in memory, and on a DynamoDB in the emulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore, DynamoDBClockOffsetStore
from flowstack_core.adapters.dynamodb_alerts import DynamoDBAlertStore
from flowstack_core.adapters.dynamodb_closing import DynamoDBClosingStore
from flowstack_core.adapters.dynamodb_credentials import DynamoDBCredentialStore
from flowstack_core.adapters.dynamodb_deferred import DynamoDBDeferredStore
from flowstack_core.adapters.dynamodb_margins import DynamoDBCounterReader, DynamoDBMarginStore
from flowstack_core.adapters.dynamodb_month_end import DynamoDBMonthEndStore
from flowstack_core.adapters.dynamodb_own_limits import DynamoDBOwnLimitsStore
from flowstack_core.adapters.dynamodb_payments import DynamoDBPaymentStore
from flowstack_core.adapters.dynamodb_rollups import DynamoDBRollupStore
from flowstack_core.adapters.dynamodb_sessions import DynamoDBSessionStore
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore
from flowstack_core.adapters.dynamodb_webhooks import (
    DynamoDBDeliveryLog,
    DynamoDBWebhookEndpoints,
)
from flowstack_core.services.ports.accounts import AccountStore, ClockOffsetStore
from flowstack_core.services.ports.alerts import AlertStore
from flowstack_core.services.ports.closing import ClosingStore, CustomerDirectory, MonthEndStore
from flowstack_core.services.ports.credentials import StoredCredentialStore
from flowstack_core.services.ports.deferred import DeferredStore
from flowstack_core.services.ports.margins import MarginStore
from flowstack_core.services.ports.own_limits import OwnLimitsStore
from flowstack_core.services.ports.payments import PaymentStore
from flowstack_core.services.ports.rollups import RollupStore
from flowstack_core.services.ports.sessions import SessionStore
from flowstack_core.services.ports.usage import CounterReader, UsageStore
from flowstack_core.services.ports.webhooks import DeliveryLog, WebhookEndpoints
from tests.support.emulator import create_tables, dynamodb_client, emulator
from tests.support.in_memory import (
    InMemoryAccountStore,
    InMemoryClockOffsetStore,
    InMemoryCredentialStore,
    InMemoryDeferredStore,
    InMemoryOwnLimitsStore,
    InMemorySessionStore,
    InMemoryUsageStore,
    Tables,
)
from tests.support.in_memory_alerts import InMemoryAlertStore
from tests.support.in_memory_closing import (
    InMemoryClosingStore,
    InMemoryCustomerDirectory,
    InMemoryMonthEndStore,
)
from tests.support.in_memory_margins import InMemoryCounterReader, InMemoryMarginStore
from tests.support.in_memory_payments import InMemoryPaymentStore
from tests.support.in_memory_rollups import InMemoryRollupStore
from tests.support.in_memory_webhooks import InMemoryDeliveryLog, InMemoryWebhookEndpoints

_numbers = count(1)


@dataclass(frozen=True)
class Stores:
    """The stores of one implementation, and a customer nobody else uses."""

    kind: str
    sessions: SessionStore
    usage: UsageStore
    accounts: AccountStore
    clock_offsets: ClockOffsetStore
    closings: ClosingStore
    month_ends: MonthEndStore
    directory: CustomerDirectory
    credentials: StoredCredentialStore
    deferred: DeferredStore
    payments: PaymentStore
    rollups: RollupStore
    own_limits: OwnLimitsStore
    webhooks: WebhookEndpoints
    deliveries: DeliveryLog
    alerts: AlertStore
    margins: MarginStore
    counters: CounterReader
    customer_id: str


@pytest.fixture(scope="session")
def emulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulator of AWS."""
    with emulator(tmp_path_factory.mktemp("emulator")) as url:
        yield url


@pytest.fixture(scope="session")
def dynamodb(emulator_url: str) -> DynamoDBClient:
    """A DynamoDB with the tables."""
    client = dynamodb_client(emulator_url)
    create_tables(client)
    return client


@pytest.fixture(params=["memory", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Both implementations, one after the other."""
    customer_id = f"cus_contract{next(_numbers):06d}"
    if request.param == "memory":
        tables = Tables()
        return Stores(
            "memory",
            InMemorySessionStore(tables),
            InMemoryUsageStore(tables),
            InMemoryAccountStore(tables),
            InMemoryClockOffsetStore(tables),
            InMemoryClosingStore(tables),
            InMemoryMonthEndStore(tables),
            InMemoryCustomerDirectory(tables),
            InMemoryCredentialStore(tables),
            InMemoryDeferredStore(tables),
            InMemoryPaymentStore(),
            InMemoryRollupStore(tables),
            InMemoryOwnLimitsStore(tables),
            InMemoryWebhookEndpoints(tables),
            InMemoryDeliveryLog(tables),
            InMemoryAlertStore(tables),
            InMemoryMarginStore(),
            InMemoryCounterReader(tables),
            customer_id,
        )
    client = request.getfixturevalue("dynamodb")
    accounts = DynamoDBAccountStore(client, "accounts", "usage")
    return Stores(
        "dynamodb",
        DynamoDBSessionStore(client, "sessions", "usage"),
        DynamoDBUsageStore(client, "usage", "accounts"),
        accounts,
        DynamoDBClockOffsetStore(client, "accounts"),
        DynamoDBClosingStore(client, "usage", "accounts", test_clocks=True),
        DynamoDBMonthEndStore(client, "usage"),
        accounts,
        DynamoDBCredentialStore(client, "accounts"),
        DynamoDBDeferredStore(client, "sessions"),
        DynamoDBPaymentStore(client, "accounts"),
        DynamoDBRollupStore(client, "usage", "sessions"),
        DynamoDBOwnLimitsStore(client, "accounts", "usage"),
        DynamoDBWebhookEndpoints(client, "accounts"),
        DynamoDBDeliveryLog(client, "usage", "accounts"),
        DynamoDBAlertStore(client, "accounts", "usage"),
        DynamoDBMarginStore(client, "usage"),
        DynamoDBCounterReader(client, "usage", "accounts"),
        customer_id,
    )
