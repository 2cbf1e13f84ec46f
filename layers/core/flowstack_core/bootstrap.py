"""The composition root: the one place where services meet adapters, clocks and chance.

Everything is made on first use and kept for the life of the execution environment. What only
some functions need is imported where it is made: the others start without it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache, partial
from random import SystemRandom
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore, DynamoDBClockOffsetStore
from flowstack_core.adapters.dynamodb_own_limits import DynamoDBOwnLimitsStore
from flowstack_core.adapters.dynamodb_sessions import DynamoDBSessionStore
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore
from flowstack_core.adapters.system import RandomIds, SystemClock, TestClocks
from flowstack_core.services.retrying import Retrier
from flowstack_core.settings import settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_sqs import SQSClient

    from flowstack_core.adapters.dynamodb_alerts import DynamoDBAlertStore
    from flowstack_core.adapters.dynamodb_closing import DynamoDBClosingStore
    from flowstack_core.adapters.dynamodb_credentials import DynamoDBCredentialStore
    from flowstack_core.adapters.dynamodb_customer_data import DynamoDBCustomerData
    from flowstack_core.adapters.dynamodb_margins import DynamoDBMarginStore
    from flowstack_core.adapters.dynamodb_rollups import DynamoDBRollupStore
    from flowstack_core.adapters.kms import KmsCredentialCipher
    from flowstack_core.adapters.s3_archives import S3Archives
    from flowstack_core.adapters.sqs_data_rights import SQSDataRightsQueue
    from flowstack_core.adapters.sqs_month_end import SQSMonthEndQueue
    from flowstack_core.adapters.sqs_webhooks import SqsWebhookQueue
    from flowstack_core.services.accounts import AccountService
    from flowstack_core.services.alerts import AlertService, ThresholdWatch
    from flowstack_core.services.announcing import Announcer
    from flowstack_core.services.authorization import AuthorizationService
    from flowstack_core.services.byok import CredentialService
    from flowstack_core.services.closing import ClosingService
    from flowstack_core.services.conversations import ConversationService
    from flowstack_core.services.deferred import DeferredRequests, DeferredRunner
    from flowstack_core.services.erasures import ErasureService
    from flowstack_core.services.expiry import ExpiryService
    from flowstack_core.services.exports import ExportService
    from flowstack_core.services.forecasts import ForecastService, RecommendationService
    from flowstack_core.services.history import HistoryService
    from flowstack_core.services.margins import MarginCalculator, MarginReporter, MarginService
    from flowstack_core.services.month_end import CloseWorker, MonthEndService
    from flowstack_core.services.own_limits import BudgetService
    from flowstack_core.services.payments import PaymentService
    from flowstack_core.services.ports.alerts import AlertMail
    from flowstack_core.services.ports.surroundings import CustomerClocks
    from flowstack_core.services.ports.webhooks import WebhookOutbox
    from flowstack_core.services.rollups import RollupService
    from flowstack_core.services.statements import StatementService
    from flowstack_core.services.subscriptions import SubscriptionService
    from flowstack_core.services.usage import UsageService
    from flowstack_core.services.vault import VaultAccess, VaultService
    from flowstack_core.services.vault_queries import VaultQueries
    from flowstack_core.services.webhook_deliveries import WebhookWorker
    from flowstack_core.services.webhooks import WebhookService

_CONNECT_TIMEOUT_SECONDS = 1
_READ_TIMEOUT_SECONDS = 3
_PATIENT_ATTEMPTS = 5


def _config(attempts: int) -> Config:
    return Config(
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        read_timeout=_READ_TIMEOUT_SECONDS,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        tcp_keepalive=True,
    )


@cache
def aws_session() -> boto3.Session:
    """Return the session of the execution role: what one client read of AWS, the next has."""
    return boto3.Session()


def _dynamodb(attempts: int) -> DynamoDBClient:
    return aws_session().client("dynamodb", config=_config(attempts))


def _sqs() -> SQSClient:
    return aws_session().client("sqs", config=_config(attempts=1))


@cache
def hot_path_client() -> DynamoDBClient:
    """Return the client of the hot path: it never retries, the services do, in their budget."""
    return _dynamodb(attempts=1)


@cache
def patient_client() -> DynamoDBClient:
    """Return the client of everything else: it retries by itself. Every operation is repeatable."""
    return _dynamodb(attempts=_PATIENT_ATTEMPTS)


@cache
def _patient_sqs() -> SQSClient:
    return aws_session().client("sqs")


@cache
def kms_client() -> KMSClient:
    """Return the client that seals and opens stored credentials: services retry, it does not."""
    return aws_session().client("kms", config=_config(attempts=1))


def _accounts(client: DynamoDBClient) -> DynamoDBAccountStore:
    return DynamoDBAccountStore(client, settings().accounts_table, settings().usage_table)


def _sessions(client: DynamoDBClient) -> DynamoDBSessionStore:
    return DynamoDBSessionStore(client, settings().sessions_table, settings().usage_table)


def _usage(client: DynamoDBClient) -> DynamoDBUsageStore:
    return DynamoDBUsageStore(client, settings().usage_table, settings().accounts_table)


def _rollups(client: DynamoDBClient) -> DynamoDBRollupStore:
    from flowstack_core.adapters.dynamodb_rollups import DynamoDBRollupStore  # noqa: PLC0415

    return DynamoDBRollupStore(client, settings().usage_table, settings().sessions_table)


def _closings(client: DynamoDBClient) -> DynamoDBClosingStore:
    from flowstack_core.adapters.dynamodb_closing import DynamoDBClosingStore  # noqa: PLC0415

    return DynamoDBClosingStore(
        client,
        settings().usage_table,
        settings().accounts_table,
        test_clocks=settings().test_clocks,
    )


def _credentials(client: DynamoDBClient) -> DynamoDBCredentialStore:
    from flowstack_core.adapters.dynamodb_credentials import DynamoDBCredentialStore  # noqa: PLC0415

    return DynamoDBCredentialStore(client, settings().accounts_table)


def _cipher() -> KmsCredentialCipher:
    from flowstack_core.adapters.kms import KmsCredentialCipher  # noqa: PLC0415

    return KmsCredentialCipher(kms_client, settings().credentials_key)


def _own_limits(client: DynamoDBClient) -> DynamoDBOwnLimitsStore:
    return DynamoDBOwnLimitsStore(client, settings().accounts_table, settings().usage_table)


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


def prepare_snapshot(part: Callable[[], object]) -> None:
    """Make ready what few requests need, where none waits for it: before a snapshot is taken."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        part()


@cache
def conversation_service() -> ConversationService:
    """Return the service behind ``/invoke`` and ``/chat``."""
    from flowstack_core.adapters.egress import EgressPolicy  # noqa: PLC0415
    from flowstack_core.adapters.provider_clients import ProviderClients  # noqa: PLC0415
    from flowstack_core.domain.catalogue import default_catalogue  # noqa: PLC0415
    from flowstack_core.domain.fair_use import FairUseMeter  # noqa: PLC0415
    from flowstack_core.http.telemetry import MessageObserver  # noqa: PLC0415
    from flowstack_core.services.admission import Admission  # noqa: PLC0415
    from flowstack_core.services.byok import CredentialFinder  # noqa: PLC0415
    from flowstack_core.services.conversations import ConversationService  # noqa: PLC0415

    client = hot_path_client()
    retrier, observer = _retrier(), MessageObserver()
    sessions, ids = _sessions(client), RandomIds()
    return ConversationService(
        admission=Admission(
            sessions,
            _usage(client),
            _accounts(client),
            _own_limits(client),
            ids,
            retrier,
            observer,
        ),
        sessions=sessions,
        subscriptions=_accounts(client),
        clocks=_clocks(client),
        ids=ids,
        retrier=retrier,
        catalogue=default_catalogue(),
        region=settings().region,
        model_clients=ProviderClients(
            settings().region,
            policy=EgressPolicy(loopback=settings().loopback_egress),
            vendors_at=settings().vendors_endpoint,
            operator_session=aws_session,
        ),
        fair_use=FairUseMeter(),
        own_credentials=CredentialFinder(_credentials(client), _cipher(), SystemClock()),
        observer=observer,
    )


@cache
def deferred_requests() -> DeferredRequests:
    """Return the service that accepts messages which are answered later, and finds them again."""
    from flowstack_core.adapters.dynamodb_deferred import DynamoDBDeferredStore  # noqa: PLC0415
    from flowstack_core.adapters.sqs_deferred import SqsDeferredQueue  # noqa: PLC0415
    from flowstack_core.services.deferred import DeferredRequests  # noqa: PLC0415

    client = hot_path_client()
    return DeferredRequests(
        conversation_service(),
        DynamoDBDeferredStore(client, settings().sessions_table),
        SqsDeferredQueue(_sqs(), settings().deferred_queue_url),
        _clocks(client),
        _retrier(),
    )


@cache
def deferred_runner() -> DeferredRunner:
    """Return the service that answers them."""
    from flowstack_core.adapters.dynamodb_deferred import DynamoDBDeferredStore  # noqa: PLC0415
    from flowstack_core.http.requests import stored_command  # noqa: PLC0415
    from flowstack_core.services.deferred import DeferredRunner  # noqa: PLC0415

    client = hot_path_client()
    return DeferredRunner(
        conversation_service(),
        DynamoDBDeferredStore(client, settings().sessions_table),
        _clocks(client),
        RandomIds(),
        _retrier(),
        stored_command,
    )


@cache
def authorization_service() -> AuthorizationService:
    """Return the service behind the authorizer."""
    from flowstack_core.services.authorization import AuthorizationService  # noqa: PLC0415

    client = patient_client()
    return AuthorizationService(_accounts(client), _own_limits(client), _clocks(client))


@cache
def usage_service() -> UsageService:
    """Return the service behind ``/usage`` and ``/tier-info``."""
    from flowstack_core.services.usage import UsageService  # noqa: PLC0415

    client = patient_client()
    return UsageService(
        _sessions(client), _usage(client), _rollups(client), _accounts(client), _clocks(client)
    )


@cache
def history_service() -> HistoryService:
    """Return the service behind ``/usage/history``."""
    from flowstack_core.services.history import HistoryService  # noqa: PLC0415

    client = patient_client()
    return HistoryService(_rollups(client), _accounts(client), _clocks(client))


@cache
def rollup_service() -> RollupService:
    """Return the service that rolls sessions up into days."""
    from flowstack_core.services.rollups import RollupService  # noqa: PLC0415

    return RollupService(_rollups(hot_path_client()), budget_service().evaluate, _retrier())


@cache
def forecast_service() -> ForecastService:
    """Return the service behind ``/usage/forecast``."""
    from flowstack_core.services.forecasts import ForecastService  # noqa: PLC0415

    client = patient_client()
    return ForecastService(usage_service(), _rollups(client), _usage(client))


@cache
def recommendation_service() -> RecommendationService:
    """Return the service behind ``/usage/recommendations``."""
    from flowstack_core.domain.prices import cost  # noqa: PLC0415
    from flowstack_core.services.forecasts import RecommendationService  # noqa: PLC0415

    client = patient_client()
    return RecommendationService(forecast_service(), _rollups(client), _accounts(client), cost=cost)


@cache
def closing_service() -> ClosingService:
    """Return the service that closes periods."""
    from flowstack_core.services.closing import ClosingService  # noqa: PLC0415

    return ClosingService(_closings(patient_client()), SystemClock(), _retrier())


@cache
def statement_service() -> StatementService:
    """Return the service behind the history of statements."""
    from flowstack_core.services.statements import StatementService  # noqa: PLC0415

    return StatementService(_closings(patient_client()))


@cache
def subscription_service() -> SubscriptionService:
    """Return the service behind ``/subscription``."""
    from flowstack_core.services.subscriptions import SubscriptionService  # noqa: PLC0415

    client = patient_client()
    return SubscriptionService(
        _accounts(client),
        _usage(client),
        _clocks(client),
        SystemClock(),
        os.urandom,
        _retrier(),
        closing_service(),
    )


def _month_end_queue() -> SQSMonthEndQueue:
    from flowstack_core.adapters.sqs_month_end import SQSMonthEndQueue  # noqa: PLC0415

    return SQSMonthEndQueue(
        _patient_sqs(),
        settings().steps_queue_url,
        settings().closes_queue_url,
        settings().closes_dead_letters_url,
    )


@cache
def month_end_service() -> MonthEndService:
    """Return the service that runs the month end."""
    from flowstack_core.adapters.dynamodb_month_end import DynamoDBMonthEndStore  # noqa: PLC0415
    from flowstack_core.services.month_end import MonthEndService  # noqa: PLC0415

    client = patient_client()
    return MonthEndService(
        DynamoDBMonthEndStore(client, settings().usage_table),
        _accounts(client),
        _month_end_queue(),
        SystemClock(),
        future_periods=settings().test_clocks,
    )


@cache
def close_worker() -> CloseWorker:
    """Return the worker behind the queue of pages to be closed."""
    from flowstack_core.adapters.dynamodb_month_end import DynamoDBMonthEndStore  # noqa: PLC0415
    from flowstack_core.services.month_end import CloseWorker  # noqa: PLC0415

    return CloseWorker(
        closing_service(),
        DynamoDBMonthEndStore(patient_client(), settings().usage_table),
        _month_end_queue(),
        SystemClock(),
    )


def _alerts(client: DynamoDBClient) -> DynamoDBAlertStore:
    from flowstack_core.adapters.dynamodb_alerts import DynamoDBAlertStore  # noqa: PLC0415

    return DynamoDBAlertStore(client, settings().accounts_table, settings().usage_table)


def _margins(client: DynamoDBClient) -> DynamoDBMarginStore:
    from flowstack_core.adapters.dynamodb_margins import DynamoDBMarginStore  # noqa: PLC0415

    return DynamoDBMarginStore(client, settings().usage_table)


def _margin_calculator(client: DynamoDBClient) -> MarginCalculator:
    from flowstack_core.adapters.dynamodb_margins import DynamoDBCounterReader  # noqa: PLC0415
    from flowstack_core.domain.prices import default_prices  # noqa: PLC0415
    from flowstack_core.services.margins import MarginCalculator  # noqa: PLC0415

    return MarginCalculator(
        DynamoDBCounterReader(client, settings().usage_table, settings().accounts_table),
        _rollups(client),
        default_prices(),
        settings().region,
    )


@cache
def margin_service() -> MarginService:
    """Return the service that tells operators of margins."""
    from flowstack_core.services.margins import MarginService  # noqa: PLC0415

    client = patient_client()
    return MarginService(
        _margin_calculator(client),
        _accounts(client),
        _margins(client),
        _clocks(client),
        SystemClock(),
    )


@cache
def margin_reporter() -> MarginReporter:
    """Return the service that adds up all customers' margins once a day."""
    from flowstack_core.adapters.sqs_margins import SQSMarginQueue  # noqa: PLC0415
    from flowstack_core.services.margins import MarginReporter  # noqa: PLC0415

    client = patient_client()
    return MarginReporter(
        _margin_calculator(client),
        _margins(client),
        _accounts(client),
        SQSMarginQueue(_patient_sqs(), settings().margins_queue_url),
        SystemClock(),
        settings().cost_share_percent,
    )


@cache
def threshold_watch() -> ThresholdWatch:
    """Return what notices that thresholds are reached."""
    from flowstack_core.services.alerts import ThresholdWatch  # noqa: PLC0415

    client = patient_client()
    return ThresholdWatch(_alerts(client), _clocks(client))


@cache
def alert_service() -> AlertService:
    """Return the service behind ``/alerts``."""
    from flowstack_core.services.alerts import AlertService  # noqa: PLC0415

    client = patient_client()
    return AlertService(_alerts(client), _clocks(client), SystemClock(), os.urandom)


def _alert_mail() -> AlertMail | None:
    if not settings().alert_sender:
        return None
    from flowstack_core.adapters.ses_alerts import SesAlertMail  # noqa: PLC0415

    return SesAlertMail(aws_session().client("sesv2"), settings().alert_sender)


@cache
def announcer() -> Announcer:
    """Return what tells of statements and alerts."""
    from flowstack_core.adapters.eventbridge import EventBridgePublisher  # noqa: PLC0415
    from flowstack_core.adapters.sns_alerts import SnsAlertTopic  # noqa: PLC0415
    from flowstack_core.services.announcing import Announcer  # noqa: PLC0415

    return Announcer(
        _alerts(patient_client()),
        EventBridgePublisher(aws_session().client("events"), settings().event_bus_name),
        SnsAlertTopic(aws_session().client("sns"), settings().alert_topic),
        webhook_outbox(),
        _alert_mail(),
    )


@cache
def credential_service() -> CredentialService:
    """Return the service behind ``/api/byok-credentials``."""
    from flowstack_core.services.byok import CredentialService  # noqa: PLC0415

    return CredentialService(
        _credentials(hot_path_client()), _cipher(), SystemClock(), os.urandom, _retrier()
    )


@cache
def budget_service() -> BudgetService:
    """Return the service behind ``/budget``, which also holds ceilings against what was spent."""
    from flowstack_core.domain.prices import cost  # noqa: PLC0415
    from flowstack_core.services.own_limits import BudgetService  # noqa: PLC0415

    client = patient_client()
    return BudgetService(
        _own_limits(client),
        _usage(client),
        _rollups(client),
        cost,
        _clocks(client),
        SystemClock(),
        os.urandom,
        _retrier(),
    )


@cache
def payment_service() -> PaymentService:
    """Return the service behind the webhook of payments; the only one that needs Stripe's code."""
    from flowstack_core.adapters.dynamodb_payments import DynamoDBPaymentStore  # noqa: PLC0415
    from flowstack_core.adapters.signing_secrets import signing_secrets  # noqa: PLC0415
    from flowstack_core.adapters.stripe_events import StripeEvents  # noqa: PLC0415
    from flowstack_core.services.payments import PaymentService  # noqa: PLC0415

    client = patient_client()
    return PaymentService(
        StripeEvents(signing_secrets(settings().stripe_webhook_secret)),
        DynamoDBPaymentStore(client, settings().accounts_table),
        _accounts(client),
        subscription_service(),
        SystemClock(),
    )


def _vault_access() -> VaultAccess:
    from flowstack_core.adapters.dynamodb_vault import DynamoDBVaultStore  # noqa: PLC0415
    from flowstack_core.services.vault import VaultAccess  # noqa: PLC0415

    # Without retries of the client's own: what may have taken effect is not blindly done again.
    client = hot_path_client()
    store = DynamoDBVaultStore(client, settings().vault_table)
    return VaultAccess(store, _clocks(client), _retrier())


@cache
def vault_service() -> VaultService:
    """Return the service that changes vaults."""
    from flowstack_core.services.vault import VaultService  # noqa: PLC0415

    return VaultService(_vault_access(), RandomIds())


@cache
def vault_queries() -> VaultQueries:
    """Return the service that reads vaults."""
    from flowstack_core.adapters.re2_patterns import compile_re2  # noqa: PLC0415
    from flowstack_core.services.vault_queries import VaultQueries  # noqa: PLC0415

    return VaultQueries(_vault_access(), compile_re2)


@cache
def account_service() -> AccountService:
    """Return the service behind the admin API."""
    from flowstack_core.services.accounts import AccountService  # noqa: PLC0415

    client = patient_client()
    return AccountService(
        _accounts(client),
        _clocks(client),
        SystemClock(),
        os.urandom,
        _retrier(),
        closing_service(),
        _clock_offsets(client) if settings().test_clocks else None,
    )


def _customer_data() -> DynamoDBCustomerData:
    from flowstack_core.adapters.dynamodb_customer_data import DynamoDBCustomerData  # noqa: PLC0415

    tables = {
        "accounts": settings().accounts_table,
        "sessions": settings().sessions_table,
        "usage": settings().usage_table,
        "vault": settings().vault_table,
    }
    return DynamoDBCustomerData(patient_client(), tables)


def _archives() -> S3Archives:
    from flowstack_core.adapters.s3_archives import S3Archives  # noqa: PLC0415

    # Links to what KMS encrypts have to be signed with Signature Version 4.
    client = aws_session().client("s3", config=Config(signature_version="s3v4"))
    return S3Archives(client, settings().archives_bucket)


def _data_rights_queue() -> SQSDataRightsQueue:
    from flowstack_core.adapters.sqs_data_rights import SQSDataRightsQueue  # noqa: PLC0415

    return SQSDataRightsQueue(_patient_sqs(), settings().data_rights_queue_url)


@cache
def export_service() -> ExportService:
    """Return the service behind exports of customers' data."""
    from flowstack_core.services.exports import ExportService  # noqa: PLC0415

    client = patient_client()
    return ExportService(
        _accounts(client),
        _customer_data(),
        _archives(),
        _data_rights_queue(),
        _clocks(client),
        SystemClock(),
        os.urandom,
    )


@cache
def erasure_service() -> ErasureService:
    """Return the service behind erasures of customers' data."""
    from flowstack_core.services.erasures import ErasureService  # noqa: PLC0415

    return ErasureService(
        account_service(),
        subscription_service(),
        closing_service(),
        _customer_data(),
        _archives(),
        _data_rights_queue(),
        SystemClock(),
        _retrier(),
        quiet=timedelta(seconds=settings().quiet_seconds),
    )


def _webhook_queue() -> SqsWebhookQueue:
    from flowstack_core.adapters.sqs_webhooks import SqsWebhookQueue  # noqa: PLC0415

    return SqsWebhookQueue(
        _patient_sqs(), settings().webhooks_queue_url, settings().webhooks_dead_letters_url
    )


@cache
def webhook_outbox() -> WebhookOutbox:
    """Return the way of events to the customers' servers."""
    return _webhook_queue()


@cache
def webhook_service() -> WebhookService:
    """Return the service behind ``/alerts/webhook``."""
    from flowstack_core.adapters.dynamodb_webhooks import (  # noqa: PLC0415
        DynamoDBDeliveryLog,
        DynamoDBWebhookEndpoints,
    )
    from flowstack_core.adapters.egress import EgressPolicy  # noqa: PLC0415
    from flowstack_core.adapters.kms import KmsWebhookSecrets  # noqa: PLC0415
    from flowstack_core.adapters.webhook_sender import check_url  # noqa: PLC0415
    from flowstack_core.services.webhooks import WebhookService  # noqa: PLC0415

    client = hot_path_client()
    return WebhookService(
        DynamoDBWebhookEndpoints(client, settings().accounts_table),
        DynamoDBDeliveryLog(client, settings().usage_table, settings().accounts_table),
        _webhook_queue(),
        KmsWebhookSecrets(kms_client, settings().credentials_key),
        partial(check_url, policy=EgressPolicy(loopback=settings().loopback_egress)),
        SystemClock(),
        os.urandom,
        _retrier(),
    )


@cache
def webhook_worker() -> WebhookWorker:
    """Return the service that delivers events to the customers' servers."""
    from flowstack_core.adapters.dynamodb_webhooks import (  # noqa: PLC0415
        DynamoDBDeliveryLog,
        DynamoDBWebhookEndpoints,
    )
    from flowstack_core.adapters.egress import EgressPolicy  # noqa: PLC0415
    from flowstack_core.adapters.kms import KmsWebhookSecrets  # noqa: PLC0415
    from flowstack_core.adapters.webhook_sender import HttpWebhookSender  # noqa: PLC0415
    from flowstack_core.domain.webhooks import RETRY_DELAYS, Schedule  # noqa: PLC0415
    from flowstack_core.services.auditing import Auditor  # noqa: PLC0415
    from flowstack_core.services.webhook_deliveries import WebhookWorker  # noqa: PLC0415

    client, clock = patient_client(), SystemClock()
    hurried = [timedelta(seconds=wait) for wait in settings().webhook_retry_seconds]
    return WebhookWorker(
        DynamoDBWebhookEndpoints(client, settings().accounts_table),
        DynamoDBDeliveryLog(client, settings().usage_table, settings().accounts_table),
        _webhook_queue(),
        KmsWebhookSecrets(kms_client, settings().credentials_key),
        HttpWebhookSender(EgressPolicy(loopback=settings().loopback_egress)),
        Schedule(hurried or RETRY_DELAYS, SystemRandom().random),
        clock,
        Auditor(clock, os.urandom),
    )


@cache
def expiry_service() -> ExpiryService:
    """Return the service behind the stream of expired sessions."""
    from flowstack_core.services.expiry import ExpiryService  # noqa: PLC0415

    return ExpiryService(_sessions(patient_client()), SystemClock())
