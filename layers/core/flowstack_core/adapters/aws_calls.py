"""Calling models at AWS: clients of the customer's own account, time-outs, and what goes wrong.

A customer's account is reached with keys of its own, or with a role that FlowStack assumes. Nothing
is kept under a secret: each call has a session of its own, and a role is assumed for one call, so
that one whose trust was withdrawn stops working at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from botocore.session import Session

from flowstack_core.adapters.model_failures import (
    BUSY_RETRY_SECONDS,
    QUOTA_RETRY_SECONDS,
    ModelFailures,
)
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.domain.messages import ModelAnswer, ModelRequest
from flowstack_core.domain.providers import ProviderCredentials
from flowstack_core.services.ports.models import ModelClient

_CONNECT_TIMEOUT_SECONDS = 1
_SHORTEST_READ_TIMEOUT_SECONDS = 1
_ASSUME_ROLE_SECONDS = 3

_SHORTEST_ROLE_SESSION_SECONDS = 900
_ROLE_SESSION_NAME = "flowstack"
_ROLE_SESSION_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["bedrock:InvokeModel", "sagemaker:InvokeEndpoint"],
                "Resource": "*",
            }
        ],
    }
)
"""What FlowStack can do with a role, however much the customer allows it."""

_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "Throttling"})
_QUOTA = frozenset({"ServiceQuotaExceededException"})
_TIMED_OUT = frozenset({"ModelTimeoutException"})
_UNAVAILABLE = frozenset(
    {
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "InternalDependencyException",
        "InternalServerException",
        "InternalFailure",
        "ModelNotReadyException",
        "ModelErrorException",
    }
)
_REJECTED = frozenset({"ValidationException", "ValidationError"})
_NO_SUCH_MODEL = frozenset({"ResourceNotFoundException"})
_CREDENTIALS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_OF_THE_CONTAINER = "ModelError"
"""SageMaker passes on what the container behind an endpoint answered."""


def runtime_config(read_timeout: int) -> Config:
    """Return how every model is called: once, and not for longer than so many seconds."""
    return Config(
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 1, "mode": "standard"},
        # A model may think for minutes, and a connection without a sound for so long is cut off.
        tcp_keepalive=True,
    )


def whole_read_timeout(timeout_seconds: float) -> int:
    """Return the whole seconds left to wait for an answer once a connection was made.

    The two time-outs together stay within ``timeout_seconds``, unless that is less than two.
    """
    return max(_SHORTEST_READ_TIMEOUT_SECONDS, int(timeout_seconds) - _CONNECT_TIMEOUT_SECONDS)


class CustomerAccounts:
    """Opens clients of customers' own accounts.

    Parameters
    ----------
    region
        Where they are called if their credentials name no region, and where roles are assumed.
    operator_session
        Makes a session of the execution role, which assumes the roles.
    endpoint_url
        Where AWS answers; ``None`` leaves it to botocore.
    """

    def __init__(
        self,
        region: str,
        *,
        operator_session: Callable[[], boto3.Session] = boto3.Session,
        endpoint_url: str | None = None,
    ) -> None:
        self._region = region
        self._operator_session = operator_session
        self._endpoint_url = endpoint_url
        # Holds botocore's descriptions of the APIs, which take 50 ms to read, and no credentials.
        self._loader = Loader()
        self._lock = Lock()

    def open_client(
        self, service: str, values: Mapping[str, str], read_timeout: int
    ) -> AbstractContextManager[Any]:
        """Return a client of a session of its own, which holds the customer's keys only."""
        session = Session()
        session.register_component("data_loader", self._loader)
        client = session.create_client(
            service,
            region_name=values.get("region", self._region),
            endpoint_url=self._endpoint_url,
            aws_access_key_id=values["aws_access_key"],
            aws_secret_access_key=values["aws_secret_key"],
            aws_session_token=values.get("aws_session_token"),
            # The signature is named, because a bearer token in AWS_BEARER_TOKEN_BEDROCK,
            # the operator's, would otherwise take the place of the customer's keys.
            config=runtime_config(read_timeout).merge(Config(signature_version="v4")),
        )
        return closing(client)

    def client_in_account(
        self,
        credentials: ProviderCredentials,
        client_with_keys: Callable[[ProviderCredentials], ModelClient],
    ) -> ModelClient:
        """Return a client with the customer's keys, or one that assumes the customer's role."""
        if "role_arn" not in credentials.values:
            return client_with_keys(credentials)
        return _AssumedRole(credentials, self._assume, client_with_keys)

    def _assume(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return keys of the role. The service has made sure that the external id is the caller's.

        A client is made for the one call, under a lock: making one is not thread-safe.
        """
        with self._lock:
            client = self._operator_session().client(
                "sts",
                region_name=self._region,
                endpoint_url=self._endpoint_url,
                config=runtime_config(_ASSUME_ROLE_SECONDS),
            )
        with closing(client) as sts:
            keys = sts.assume_role(
                RoleArn=values["role_arn"],
                ExternalId=values["external_id"],
                RoleSessionName=_ROLE_SESSION_NAME,
                DurationSeconds=_SHORTEST_ROLE_SESSION_SECONDS,
                Policy=_ROLE_SESSION_POLICY,
            )["Credentials"]
        return {
            "aws_access_key": keys["AccessKeyId"],
            "aws_secret_key": keys["SecretAccessKey"],
            "aws_session_token": keys["SessionToken"],
        }


@dataclass(frozen=True, slots=True)
class _AssumedRole:
    """Assumes the customer's role for each call."""

    credentials: ProviderCredentials
    assume: Callable[[Mapping[str, str]], dict[str, str]]
    client_with_keys: Callable[[ProviderCredentials], ModelClient]

    def converse(self, request: ModelRequest) -> ModelAnswer:
        values = self.credentials.values
        failures = ModelFailures.of(self.credentials, request.model.model)
        started = time.monotonic()
        hint = (
            "The role's trust policy must allow this deployment's conversation and worker functions"
            f" to assume it with the external id {values['external_id']}."
        )
        with aws_errors_as(failures, when_denied=hint):
            keys = self.assume(values)
        kept = {name: values[name] for name in ("region", "endpoint_name") if name in values}
        assumed = ProviderCredentials(self.credentials.provider, {**kept, **keys})
        left = request.timeout_seconds - (time.monotonic() - started)
        return self.client_with_keys(assumed).converse(replace(request, timeout_seconds=left))


@contextmanager
def aws_errors_as(failures: ModelFailures, when_denied: str | None = None) -> Iterator[None]:
    """Raise what botocore raises inside as the failure of a model.

    An error that nobody foresaw rises as it is where the operator's own account was used: it is
    the operator's to see. A customer's provider wrote it otherwise, so it is withheld.
    """
    try:
        yield
    except ClientError as error:
        refusal = _of_client_error(error, failures, when_denied)
        if refusal is None:
            raise
        # What a customer's provider wrote must not reach the operator's logs either.
        raise refusal from (None if failures.own else error)
    except ReadTimeoutError as error:
        raise failures.timed_out() from error
    except (BotocoreConnectionError, HTTPClientError) as error:
        raise failures.unavailable() from error
    except (NoCredentialsError, CredentialRetrievalError) as error:
        raise failures.access_denied() from error
    except ParamValidationError as error:
        raise failures.rejected(str(error)) from error
    except ResponseParserError as error:
        raise failures.malformed() from error


def _of_client_error(
    error: ClientError, failures: ModelFailures, when_denied: str | None
) -> FlowStackError | None:
    """Return the error to raise, or ``None`` for one that nobody foresaw."""
    response: Mapping[str, Any] = error.response
    code = response.get("Error", {}).get("Code", "")
    text = response.get("Error", {}).get("Message", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    mapped: Mapping[frozenset[str], Callable[[], FlowStackError]] = {
        _THROTTLED: lambda: failures.rate_limited(BUSY_RETRY_SECONDS),
        _QUOTA: lambda: failures.rate_limited(QUOTA_RETRY_SECONDS),
        _TIMED_OUT: failures.timed_out,
        _CREDENTIALS: lambda: failures.access_denied(when_denied),
        _NO_SUCH_MODEL: lambda: failures.no_such_model(text),
        _REJECTED: lambda: failures.of_rejection(text),
        _UNAVAILABLE: failures.unavailable,
    }
    for codes, failure in mapped.items():
        if code in codes:
            return failure()
    if code == _OF_THE_CONTAINER:
        said = response.get("OriginalMessage", "")
        return failures.of_status(response.get("OriginalStatusCode", 500), said)
    if status >= 500:
        return failures.unavailable()
    return failures.unforeseen() if failures.own else None
