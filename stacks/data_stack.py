"""The tables and the key that encrypts them."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_kms as kms
from constructs import Construct

from stacks.constructs.archives import Archives
from stacks.constructs.table import Index, StageTable
from stacks.stage import Stage

BY_KIND = "by-kind"
HELD_SESSIONS = "held-sessions"


class DataStack(Stack):
    """Everything that outlives a deployment.

    Attributes
    ----------
    accounts
        Customers, hashed keys, subscriptions, the audit trail.
    sessions
        Conversations, transcripts, session records, idempotency claims.
    usage
        The counter of each customer and period.
    vault
        The customers' own documents.
    archives
        Exports of customers' data, for a week.
    """

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, termination_protection=stage.production, **kwargs)
        key = kms.Key(
            self,
            "Key",
            alias=f"alias/{stage.name_of('data')}",
            description=f"Encrypts the tables of FlowStack ({stage.name})",
            enable_key_rotation=True,
            removal_policy=stage.removal_policy,
        )
        self.accounts = StageTable(
            self,
            "Accounts",
            stage=stage,
            name="accounts",
            key=key,
            expires=True,
            indexes=[Index(BY_KIND, partition_key="kind_pk", sort_key="kind_sk")],
        )
        self.sessions = StageTable(
            self,
            "Sessions",
            stage=stage,
            name="sessions",
            key=key,
            expires=True,
            stream=True,
            indexes=[Index(HELD_SESSIONS, partition_key="held_in", sort_key="started_at")],
        )
        self.usage = StageTable(self, "Usage", stage=stage, name="usage", key=key, expires=True)
        self.vault = StageTable(self, "Vault", stage=stage, name="vault", key=key, expires=False)
        self.archives = Archives(self, "Archives", stage=stage, key=key)
        for table in self.tables:
            CfnOutput(self, f"{table.name.capitalize()}TableName", value=table.resource.table_name)

    @property
    def tables(self) -> tuple[StageTable, ...]:
        return (self.accounts, self.sessions, self.usage, self.vault)
