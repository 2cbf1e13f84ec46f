"""The real conversation function, run in this process as a production stage configures it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import boto3
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core import bootstrap
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.settings import settings
from tests.bench.metering import Meter
from tests.support.converse_server import ConverseServer
from tests.support.emulator import REGION, ROOT, create_tables, dynamodb_client, emulator
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of

INDEXES = {"accounts": ("kind_pk", "kind_sk"), "sessions": ("held_in", "started_at")}


@dataclass(frozen=True, slots=True)
class Function:
    """The function, what it runs against, and what sees its requests."""

    handler: Callable[[dict[str, Any], Any], dict[str, Any]]
    database: DynamoDBClient
    observed_session: boto3.Session
    endpoint_url: str
    meter: Meter

    def send(
        self,
        path: str,
        subscription: Subscription,
        body: dict[str, Any],
        idempotency_key: str | None = None,
    ) -> HttpResponse:
        """Send a request as API Gateway does after the authorizer has let it in."""
        event = http_event(
            "POST",
            path,
            json.dumps(body),
            {"Idempotency-Key": idempotency_key} if idempotency_key else None,
            {
                "customer_id": subscription.customer_id,
                "key_id": "key_bench",
                "tier": subscription.terms.tier.value,
            },
        )
        # Metrics and logs are on, as in production; nobody wants to read them here.
        with redirect_stdout(StringIO()):
            return response_of(self.handler(event, LambdaContext()))


@contextmanager
def conversation_function(program: Sequence[str | Path] = ()) -> Iterator[Function]:
    """Run an emulator and a model, and load the function against them.

    Parameters
    ----------
    program
        What to start instead of MiniStack's own program.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="flowstack-bench-"))
        url = stack.enter_context(emulator(Path(directory), program))
        model = stack.enter_context(ConverseServer())
        stack.enter_context(patch.dict(os.environ, _environment(url, model.url)))
        # On a production stage there is no such variable at all.
        os.environ.pop("TEST_CLOCKS", None)
        database = dynamodb_client(url)
        create_tables(database)
        # Clients made before this one are not seen: the database above is the meter's probe.
        observed = boto3.Session(region_name=REGION)
        stack.enter_context(patch.object(bootstrap, "aws_session", lambda: observed))
        _forget_services()
        meter = Meter(observed, database, INDEXES, lambda: len(model.calls()))
        yield Function(load_handler("conversation"), database, observed, url, meter)


def _forget_services() -> None:
    """Let services be made anew: those of an earlier benchmark have an emulator that is gone."""
    for made in (*vars(bootstrap).values(), settings):
        if hasattr(made, "cache_clear"):
            made.cache_clear()


def _environment(dynamodb_url: str, bedrock_url: str) -> dict[str, str]:
    return {
        "FLOWSTACK_STAGE": "prod",
        "ACCOUNTS_TABLE": "accounts",
        "SESSIONS_TABLE": "sessions",
        "USAGE_TABLE": "usage",
        "VAULT_TABLE": "vault",
        "POWERTOOLS_SERVICE_NAME": "conversation",
        "POWERTOOLS_METRICS_NAMESPACE": "FlowStack",
        "LOG_LEVEL": "CRITICAL",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock_url,
    }


def load_handler(function: str) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """Return the handler of a function, loaded in the environment there is now."""
    path = ROOT / f"functions/{function}/handler.py"
    spec = spec_from_file_location(f"{function}_handler", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Callable[[dict[str, Any], Any], dict[str, Any]] = module.handler
    return handler
