"""Credentials of the customer's own: stored, replaced, deleted and used."""

from __future__ import annotations

import json
from datetime import timedelta

from flowstack_core.adapters.dynamodb_credentials import (
    DynamoDBCredentialStore,
    decode_credentials,
)
from flowstack_core.adapters.kms import KmsCredentialCipher
from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.providers import Provider, ProviderCredentials
from flowstack_core.domain.stored_credentials import masked
from flowstack_core.services.byok import CACHE_LIFETIME, CredentialService
from tests.faults.registers import Register
from tests.faults.stage import REQUEST_SECONDS, Stage
from tests.faults.streams import Change, Item

WORKFLOW = "credentials"
KEY = "alias/credentials"
_VISIBLE_FOR = CACHE_LIFETIME + timedelta(seconds=REQUEST_SECONDS)
"""How long what is stored no more can still be used: by a request that had just read it."""


class Credentials:
    """What the customer has stored at one provider: each value is another one.

    Attributes
    ----------
    secrets
        All that were ever to be stored.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.kms = stage.client("kms")
        self._cipher = KmsCredentialCipher(lambda: self.kms, KEY)
        self._service = CredentialService(
            DynamoDBCredentialStore(stage.dynamodb, stage.tables["accounts"]),
            self._cipher,
            stage.clock,
            stage.chance("credentials").randbytes,
            stage.retrier,
        )
        self.secrets: list[str] = []
        self._register: Register[str | None] = Register(None)

    def keep(self) -> None:
        """Store credentials or delete them."""
        if self._stage.random.random() < 0.6:
            secret = f"secret-{self._stage.number():033d}"
            self.secrets.append(secret)
            self._register.write(secret, lambda: self._store(secret))
        else:
            self._register.write(None, self._delete)
        if self._register.still:
            self._stage.insist(
                self._stored() in self._register.possible, "credentials nobody stored last"
            )

    def _store(self, secret: str) -> None:
        stage, budget = self._stage, self._stage.budget()
        values = {"aws_access_key": "AKIAEXAMPLE", "aws_secret_key": secret}
        stage.request(
            WORKFLOW,
            lambda: self._service.store(stage.key_id, stage.customer_id, "bedrock", values, budget),
        )

    def _delete(self) -> None:
        stage, budget = self._stage, self._stage.budget()

        def delete() -> None:
            self._service.delete(stage.key_id, stage.customer_id, "bedrock", budget)

        try:
            stage.request(WORKFLOW, delete)
        except NotFoundError:
            return

    def used(self, credentials: ProviderCredentials) -> None:
        """Look at credentials that a model is asked with: they are stored, or were a moment ago."""
        since = self._stage.clock.now() - _VISIBLE_FOR
        in_force: list[str | None] = [None]
        for change in self._changes():
            if change.at <= since:
                in_force.clear()
            in_force.append(self._secret(change.after))
        self._stage.insist(
            credentials.values["aws_secret_key"] in in_force,
            "credentials were used after they were deleted or replaced",
        )

    def check(self) -> None:
        """Look at all that was ever stored: whole, sealed, one version after the other."""
        for change in self._changes():
            if change.after is not None:
                stored = decode_credentials(change.after)
                values = self._values(change.after)
                credentials = ProviderCredentials(Provider.BEDROCK, values)
                assert stored.masked == masked(credentials), "credentials were half written"
        if self._register.still:
            assert self._stored() in self._register.possible, "credentials nobody stored last"

    def _changes(self) -> list[Change]:
        partition = f"CREDENTIALS#{self._stage.customer_id}"
        return list(self._stage.streams.changes("accounts", "bedrock", partition))

    def _stored(self) -> str | None:
        changes = self._changes()
        return self._secret(changes[-1].after) if changes else None

    def _secret(self, item: Item | None) -> str | None:
        return None if item is None else str(self._values(item)["aws_secret_key"])

    def _values(self, item: Item) -> dict[str, str]:
        stored = decode_credentials(item)
        blob = bytes(stored.ciphertext)
        values: dict[str, str] = json.loads(self._stage.aws.opened(blob))
        return values
