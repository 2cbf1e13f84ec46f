"""The composition root: the one place where services meet adapters, clocks and chance.

Everything is made on first use and kept for the life of the execution environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from random import SystemRandom
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore, DynamoDBClockOffsetStore
from flowstack_core.adapters.dynamodb_sessions import DynamoDBSessionStore
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore
from flowstack_core.adapters.dynamodb_vault import DynamoDBVaultStore
from flowstack_core.adapters.re2_patterns import compile_re2
from flowstack_core.adapters.system import RandomIds, SystemClock, TestClocks
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.admission import Admission
from flowstack_core.services.authorization import AuthorizationService
from flowstack_core.services.conversations import ConversationService
from flowstack_core.services.expiry import ExpiryService
from flowstack_core.services.ports import CustomerClocks
from flowstack_core.services.retrying import Retrier
from flowstack_core.services.usage import UsageService
from flowstack_core.services.vault import VaultAccess, VaultService
from flowstack_core.services.vault_queries import VaultQueries
from flowstack_core.settings import settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CONNECT_TIMEOUT_SECONDS = 1
_READ_TIMEOUT_SECONDS = 3
_PATIENT_ATTEMPTS = 5


def _dynamodb(attempts: int) -> DynamoDBClient:
    return boto3.client(
        "dynamodb",
        config=Config(
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            read_timeout=_READ_TIMEOUT_SECONDS,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            tcp_keepalive=True,
        ),
    )


@cache
def hot_path_client() -> DynamoDBClient:
    """Return the client of the hot path: it never retries, the services do, in their budget."""
    return _dynamodb(attempts=1)


@cache
def patient_client() -> DynamoDBClient:
    """Return the client of everything else: it retries by itself. Every operation is repeatable."""
    return _dynamodb(attempts=_PATIENT_ATTEMPTS)


def _accounts(client: DynamoDBClient) -> DynamoDBAccountStore:
    return DynamoDBAccountStore(client, settings().accounts_table, settings().usage_table)


def _sessions(client: DynamoDBClient) -> DynamoDBSessionStore:
    return DynamoDBSessionStore(client, settings().sessions_table, settings().usage_table)


def _usage(client: DynamoDBClient) -> DynamoDBUsageStore:
    return DynamoDBUsageStore(client, settings().usage_table, settings().accounts_table)


def _clock_offsets(client: DynamoDBClient) -> DynamoDBClockOffsetStore:
    return DynamoDBClockOffsetStore(client, settings().accounts_table)


def _clocks(client: DynamoDBClient) -> CustomerClocks:
    if settings().test_clocks:
        return TestClocks(SystemClock(), _clock_offsets(client))
    return SystemClock()


def _retrier() -> Retrier:
    return Retrier(sleep=time.sleep, chance=SystemRandom().random)


def prepare(service: Callable[[], object]) -> None:
    """Compose a service while Lambda initialises a function; elsewhere do nothing.

    A SnapStart snapshot then holds the service ready to use. That is safe to copy: no connection
    is open yet, ids and jitter come from the operating system, and no clock was read.
    """
    if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
        service()


@cache
def conversation_service() -> ConversationService:
    """Return the service behind ``/invoke`` and ``/chat``."""
    from flowstack_core.adapters.bedrock import BedrockClients  # noqa: PLC0415 - heavy, used here only
    from flowstack_core.domain.catalogue import default_catalogue  # noqa: PLC0415
    from flowstack_core.domain.fair_use import FairUseMeter  # noqa: PLC0415

    client = hot_path_client()
    retrier = _retrier()
    sessions, ids = _sessions(client), RandomIds()
    return ConversationService(
        admission=Admission(sessions, _usage(client), _accounts(client), ids, retrier),
        sessions=sessions,
        subscriptions=_accounts(client),
        clocks=_clocks(client),
        ids=ids,
        retrier=retrier,
        catalogue=default_catalogue(),
        region=settings().region,
        model_clients=BedrockClients(settings().region),
        fair_use=FairUseMeter(),
    )


@cache
def authorization_service() -> AuthorizationService:
    """Return the service behind the authorizer."""
    accounts = _accounts(patient_client())
    return AuthorizationService(accounts, accounts, _clocks(patient_client()))


@cache
def usage_service() -> UsageService:
    """Return the service behind ``/usage`` and ``/tier-info``."""
    client = patient_client()
    return UsageService(_sessions(client), _usage(client), _accounts(client), _clocks(client))


@cache
def _vault_access() -> VaultAccess:
    # Without retries of the client's own: what may have taken effect is not blindly done again.
    client = hot_path_client()
    store = DynamoDBVaultStore(client, settings().vault_table)
    return VaultAccess(store, _clocks(client), _retrier())


@cache
def vault_service() -> VaultService:
    """Return the service that changes vaults."""
    return VaultService(_vault_access(), RandomIds())


@cache
def vault_queries() -> VaultQueries:
    """Return the service that reads vaults."""
    return VaultQueries(_vault_access(), compile_re2)


@cache
def account_service() -> AccountService:
    """Return the service behind the admin API."""
    client = patient_client()
    return AccountService(
        _accounts(client),
        _clocks(client),
        SystemClock(),
        os.urandom,
        _clock_offsets(client) if settings().test_clocks else None,
        _retrier(),
    )


@cache
def expiry_service() -> ExpiryService:
    """Return the service behind the stream of expired sessions."""
    return ExpiryService(_sessions(patient_client()), SystemClock())
