"""The tables, the key that encrypts them, and the one that seals stored credentials."""

from __future__ import annotations

from typing import Any, Literal

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from stacks.constructs.archives import Archives
from stacks.constructs.table import Index, StageTable
from stacks.stage import Stage

BY_KIND = "by-kind"
HELD_SESSIONS = "held-sessions"

CREDENTIALS = "CREDENTIALS#"
"""What the partition keys of stored credentials begin with."""

SEALED_FOR = ("flowstack:customer", "flowstack:provider")
"""The encryption context of stored credentials."""

WEBHOOK = "webhook"
"""What stands in the place of the provider for the secrets of webhooks."""


class DataStack(Stack):
    """Everything that outlives a deployment.

    Attributes
    ----------
    accounts
        Customers, hashed keys, subscriptions, stored credentials, the audit trail.
    sessions
        Conversations, transcripts, session records, idempotency claims.
    usage
        The counter and the statement of each customer and period, the books of the month end.
    vault
        The customers' own documents.
    credentials_key
        Seals the credentials that customers store, whatever encrypts the table they stand in.
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
        self.credentials_key = kms.Key(
            self,
            "CredentialsKey",
            alias=f"alias/{stage.name_of('credentials')}",
            description=f"Seals stored provider credentials of FlowStack ({stage.name})",
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
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            indexes=[Index(HELD_SESSIONS, partition_key="held_in", sort_key="started_at")],
        )
        self.usage = StageTable(
            self,
            "Usage",
            stage=stage,
            name="usage",
            key=key,
            expires=True,
            stream=dynamodb.StreamViewType.NEW_IMAGE,
        )
        self.vault = StageTable(self, "Vault", stage=stage, name="vault", key=key, expires=True)
        self.archives = Archives(self, "Archives", stage=stage, key=key)
        for table in self.tables:
            CfnOutput(self, f"{table.name.capitalize()}TableName", value=table.resource.table_name)

    def credentials_access(
        self, action: Literal["Encrypt", "Decrypt"], *, of_webhooks: bool = False
    ) -> iam.PolicyStatement:
        """Return the permission to seal or to open credentials, for a customer and a provider.

        Under any other encryption context, or none, the key is of no use. What is sealed for
        webhooks is of no use to who may use credentials at providers, and the other way round.
        """
        which = "StringEquals" if of_webhooks else "StringNotEquals"
        return iam.PolicyStatement(
            actions=[f"kms:{action}"],
            resources=[self.credentials_key.key_arn],
            conditions={
                "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": list(SEALED_FOR)},
                # "For all" holds of none, so each is asked for.
                "Null": {f"kms:EncryptionContext:{name}": "false" for name in SEALED_FOR},
                which: {f"kms:EncryptionContext:{SEALED_FOR[1]}": WEBHOOK},
            },
        )

    @property
    def tables(self) -> tuple[StageTable, ...]:
        return (self.accounts, self.sessions, self.usage, self.vault)
