"""Signing secrets, kept by the operator in Secrets Manager or as an SSM SecureString."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider

SSM_PREFIX = "ssm:"
MAX_AGE_SECONDS = 300
"""How long a value is used before it is read again: a new secret is known after that."""

_SECRET_PREFIX = "whsec_"  # noqa: S105 - how Stripe's secrets begin
_MOST_SECRETS = 2


class UnusableSigningSecretError(Exception):
    """What is stored is not a signing secret, or more than two; the value is not told."""


def signing_secrets(reference: str, client: Any = None) -> Callable[[], tuple[str, ...]]:
    """Return what reads the secrets at a reference: one, or two while one is being replaced.

    Parameters
    ----------
    reference
        ``ssm:/path`` of a parameter, or the ARN or name of a secret.
    client
        The boto3 client to use, if not one of its own.
    """
    fetch: Callable[[], object]
    if reference.startswith(SSM_PREFIX):
        name = reference.removeprefix(SSM_PREFIX)
        parameters = SSMProvider(boto3_client=client)
        fetch = partial(parameters.get, name, max_age=MAX_AGE_SECONDS, decrypt=True)
    else:
        fetch = partial(
            SecretsProvider(boto3_client=client).get, reference, max_age=MAX_AGE_SECONDS
        )
    return lambda: _checked(fetch())


def _checked(value: object) -> tuple[str, ...]:
    secrets = tuple(value.split()) if isinstance(value, str) else ()
    sound = all(secret.startswith(_SECRET_PREFIX) for secret in secrets)
    if not sound or not 1 <= len(secrets) <= _MOST_SECRETS:
        raise UnusableSigningSecretError(
            "The stored value is not one or two signing secrets (whsec_…)."
        )
    return secrets
