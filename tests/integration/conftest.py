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
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowstack_admin.client import AdminClient
from local_stack.connection import Connection
from local_stack.stack import LocalStack
from tests.support.converse_server import ConverseServer
from tests.support.emulator import ROOT, aws_client
from tests.support.faulty_dynamodb import Faults, FaultyDynamoDB
from tests.support.least_privilege import Observed, Trail, granted
from tests.support.permissions import deployed_permissions
from tests.support.provider_server import ProviderServer
from tests.support.stripe_messages import SECRET

_numbers = count(1)
MODEL = "claude-haiku-4-5"
SIGNING_SECRET = "flowstack/stripe"

PORTS_EACH = 20
"""How far the ports of stacks that test side by side are apart."""

CONNECTIONS = 8
"""How many requests of one customer are on the way at once; more wait for their turn.

The emulator unpacks all layers for each execution environment that they come to need. Many more
race in ``tests/contract``, at the stores.
"""


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
    trail: Trail
    emulator_log: Path
    files: set[str] = field(default_factory=set)
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

    def client(self, service: Any) -> Any:
        """Return a client of one of the emulator's services."""
        return aws_client(service, self.connection.endpoint_url)

    def asked(self, marker: str) -> int:
        """Return how many model calls had the marker in their messages."""
        return len(self.bedrock.calls(marker))


def store_signing_secret(endpoint_url: str) -> None:
    """Keep the secret of the payments' webhook where the operator would."""
    client = aws_client("secretsmanager", endpoint_url)
    client.create_secret(Name=SIGNING_SECRET, SecretString=f"{SECRET}\n")


def pytest_configure(config: pytest.Config) -> None:
    """Forget what earlier tests saw of the roles, before several processes see anything."""
    if not hasattr(config, "workerinput"):
        Observed.forget_all()


def local_stack() -> LocalStack:
    """Return a stack of this process's own: several of them test side by side."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    port = int(os.environ.get("FLOWSTACK_TEST_PORT", "4800"))
    number = int(worker.removeprefix("gw") or 0)
    return LocalStack(ROOT / ".local/test" / (worker or "gw0"), port=port + PORTS_EACH * number)


@pytest.fixture(scope="session")
def deployed(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, deployed once for all tests of this process."""
    local = local_stack()
    local.down()
    try:
        running = local.start()
        with (
            ConverseServer() as bedrock,
            ProviderServer() as vendors,
            FaultyDynamoDB(running.endpoint_url) as dynamodb,
            closing(Trail(running.endpoint_url)) as trail,
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
            log = local.layout.emulator_log
            trail.begin()
            stack = Stack(connection, admin, dynamodb, bedrock, vendors, tls, trail, log)
            yield stack
            observed(stack, request.config).write(local.layout.directory.name)
    finally:
        local.down()


def observed(stack: Stack, config: pytest.Config) -> Observed:
    """Return what the tests of this process saw of the roles."""
    permissions = stack.dynamodb.permissions
    assert permissions is not None
    stack.trail.read()
    option = config.option
    narrowed = option.keyword or option.markexpr or option.deselect
    some = narrowed or any("::" in argument for argument in config.args)
    return Observed(
        frozenset() if some else frozenset(stack.files),
        frozenset(granted(permissions)),
        frozenset(permissions.used | stack.trail.used),
        frozenset(f"{app}: {access}" for app, access in permissions.refused),
    )


@pytest.fixture
def stack(deployed: Stack, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, with nothing failing and no call recorded."""
    deployed.files.add(request.path.name)
    deployed.bedrock.behave()
    deployed.bedrock.forget_calls()
    deployed.vendors.reply_with()
    deployed.vendors.forget_calls()
    deployed.dynamodb.control(Faults())
    yield deployed
    deployed.dynamodb.control(Faults())
    deployed.bedrock.behave()
    deployed.vendors.reply_with()
    deployed.trail.read()
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
