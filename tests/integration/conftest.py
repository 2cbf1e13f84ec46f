"""The app, deployed by the CDK command line to an emulator of its own, and driven over HTTPS.

A proxy stands between the functions and DynamoDB, a Converse-speaking server in the place of
Amazon Bedrock, and another in that of all other providers; they are transparent until a test tells
them otherwise.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from flowstack_admin.client import AdminClient
from local_stack.connection import Connection
from local_stack.stack import LocalStack
from tests.support.converse_server import ConverseServer
from tests.support.emulator import REGION, ROOT
from tests.support.faulty_dynamodb import Faults, FaultyDynamoDB
from tests.support.permissions import deployed_permissions
from tests.support.provider_server import ProviderServer
from tests.support.stripe_messages import SECRET

_numbers = count(1)
MODEL = "claude-haiku-4-5"
SIGNING_SECRET = "flowstack/stripe"

CONNECTIONS = 24
"""How many requests of one customer are on the way at once; more wait for their turn."""


@dataclass
class Customer:
    """A customer, and an HTTP client that carries its key."""

    customer_id: str
    key: str
    http: httpx.Client

    def invoke(self, conversation_id: str = "default", **fields: Any) -> httpx.Response:
        """POST /invoke with one message; ``headers`` go along, other fields into the body."""
        headers = fields.pop("headers", {})
        body = {
            "provider": "bedrock",
            "model": MODEL,
            "agent": "agent",
            "conversation_id": conversation_id,
            "messages": [{"role": "user", "content": "Hello"}],
            **fields,
        }
        return self.http.post("/invoke", json=body, headers=headers)

    def chat(
        self, message: Any = "Hello", conversation_id: str = "default", **fields: Any
    ) -> httpx.Response:
        """POST /chat."""
        headers = fields.pop("headers", {})
        body = {
            "agent": "agent",
            "model": MODEL,
            "message": message,
            "conversation_id": conversation_id,
            **fields,
        }
        return self.http.post("/chat", json=body, headers=headers)

    def usage(self) -> dict[str, Any]:
        """GET /usage."""
        response = self.http.get("/usage")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    @property
    def used(self) -> int:
        """How many sessions count in the present period."""
        used: int = self.usage()["current_period"]["sessions_used"]
        return used

    @property
    def held(self) -> int:
        """How many of them are held."""
        held: int = self.usage()["current_period"]["sessions_held"]
        return held


@dataclass
class Stack:
    """Everything a test needs of the deployed stack."""

    connection: Connection
    admin: AdminClient
    dynamodb: FaultyDynamoDB
    bedrock: ConverseServer
    vendors: ProviderServer
    tls: ssl.SSLContext
    clients: list[httpx.Client] = field(default_factory=list)

    def anonymous(self, **headers: str) -> httpx.Client:
        """Return a client without a key, open until the test ends."""
        client = httpx.Client(
            base_url=self.connection.preferred_url,
            headers=headers,
            timeout=120,
            verify=self.tls,
            limits=httpx.Limits(max_connections=CONNECTIONS),
            trust_env=False,
        )
        self.clients.append(client)
        return client

    def customer(self, tier: str = "starter", session_limit: int | None = None) -> Customer:
        """Create a customer."""
        created = self.admin.post(
            "/admin/customers",
            {
                "name": f"Customer {next(_numbers)}",
                "tier": tier,
                **({} if session_limit is None else {"session_limit": session_limit}),
            },
        )
        key = created["key"]["text"]
        return Customer(
            created["customer"]["customer_id"], key, self.anonymous(**{"X-API-Key": key})
        )

    def set_tier(self, customer: Customer, tier: str, **contract: Any) -> dict[str, Any]:
        """Move a customer to a tier."""
        return self.admin.put(
            f"/admin/customers/{customer.customer_id}/tier", {"tier": tier, **contract}
        )

    def advance(self, customer: Customer, minutes: float) -> None:
        """Move a customer's test clock forward."""
        self.admin.put(
            f"/admin/customers/{customer.customer_id}/clock", {"advance_minutes": minutes}
        )

    def set_clock(self, customer: Customer, instant: str) -> None:
        """Set a customer's test clock."""
        self.admin.put(f"/admin/customers/{customer.customer_id}/clock", {"set_to": instant})

    def audit(self, customer: Customer) -> dict[str, Any]:
        """Rebuild the count of the present period from its records."""
        return self.admin.get(f"/admin/customers/{customer.customer_id}/usage/audit")

    def assert_exact(self, customer: Customer, sessions: int, held: int = 0) -> None:
        """The counter and the records agree on the number of sessions."""
        audit = self.audit(customer)
        assert audit["drift"] == 0, audit
        assert audit["counted"] == sessions, audit
        assert audit["held"] == held, audit

    def asked(self, marker: str) -> int:
        """Return how many model calls had the marker in their messages."""
        return len(self.bedrock.calls(marker))


def store_signing_secret(endpoint_url: str) -> None:
    """Keep the secret of the payments' webhook where the operator would."""
    client = boto3.client(
        "secretsmanager",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_secret(Name=SIGNING_SECRET, SecretString=f"{SECRET}\n")


WHOLE_SUITE = pytest.StashKey[bool]()
"""Whether all tests of this folder run."""

LAST = "test_unused_permissions.py"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what looks at all other tests behind them, and tell it whether all of them run."""
    items.sort(key=lambda item: item.path.name == LAST)
    here = Path(__file__).parent
    chosen = {item.path for item in items}
    narrowed = config.getoption("keyword") or config.getoption("deselect")
    config.stash[WHOLE_SUITE] = set(here.glob("test_*.py")) <= chosen and not narrowed


@pytest.fixture(scope="session")
def deployed() -> Iterator[Stack]:
    """The stack, deployed once for all tests."""
    # Two checkouts can test side by side, each on a port of its own.
    port = int(os.environ.get("FLOWSTACK_TEST_PORT", "4800"))
    local = LocalStack(ROOT / ".local/test", port=port)
    local.down()
    try:
        running = local.start()
        with (
            ConverseServer() as bedrock,
            ProviderServer() as vendors,
            FaultyDynamoDB(running.endpoint_url) as dynamodb,
        ):
            store_signing_secret(running.endpoint_url)
            connection = local.deploy(
                running,
                {
                    "dynamodb_endpoint": dynamodb.url,
                    "bedrock_endpoint": bedrock.url,
                    "vendors_endpoint": vendors.url,
                    "stripe_webhook_secret": SIGNING_SECRET,
                },
            )
            # The emulator lets every role do everything; this does not.
            dynamodb.permissions = deployed_permissions(running.endpoint_url)
            tls = ssl.create_default_context(cafile=connection.ca_file)
            admin = AdminClient.of_local_stack(local.layout.connection)
            yield Stack(connection, admin, dynamodb, bedrock, vendors, tls)
    finally:
        local.down()


@pytest.fixture
def stack(deployed: Stack) -> Iterator[Stack]:
    """The stack, with nothing failing and no call recorded."""
    deployed.bedrock.behave()
    deployed.bedrock.forget_calls()
    deployed.vendors.reply_with()
    deployed.vendors.forget_calls()
    deployed.dynamodb.control(Faults())
    yield deployed
    deployed.dynamodb.control(Faults())
    deployed.bedrock.behave()
    deployed.vendors.reply_with()
    while deployed.clients:
        deployed.clients.pop().close()


def at_once(count_: int, call: Any) -> list[httpx.Response]:
    """Run ``call(number)`` in as many threads at once."""
    with ThreadPoolExecutor(count_) as threads:
        return list(threads.map(call, range(count_)))


def wait_until(happened: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that other threads or processes bring about."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
