"""A table, and what a function may do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from stacks.stage import Stage

TTL_ATTRIBUTE = "ttl"

_READ_ONLY = ("GetItem", "BatchGetItem", "Query", "ConditionCheckItem")
_DECRYPT = ("kms:Decrypt", "kms:DescribeKey")
_ENCRYPT = ("kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo")


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index with all attributes of its items.

    Attributes
    ----------
    partition_key, sort_key
        Names of the string attributes it is keyed by; an item without them is not in the index.
    """

    name: str
    partition_key: str
    sort_key: str


@dataclass(frozen=True, slots=True)
class TableAccess:
    """What one function may do with one table.

    Attributes
    ----------
    environment_name
        The variable that tells the function the table's name.
    """

    environment_name: str
    table_name: str
    statements: tuple[iam.PolicyStatement, ...]


class StageTable(Construct):
    """A table keyed by ``pk`` and ``sk``, on demand, encrypted.

    It can be restored to any second of the last 35 days. On a production stage it cannot be
    deleted, and outlives its stack.

    Parameters
    ----------
    name
        What it holds: ``accounts`` makes ``ACCOUNTS_TABLE`` of the functions' environment.
    expires
        Whether DynamoDB deletes items some time after their ``ttl`` (epoch seconds).
    stream
        What is published of a change, if anything.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        name: str,
        key: kms.IKey,
        expires: bool,
        stream: dynamodb.StreamViewType | None = None,
        indexes: Sequence[Index] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        self._key = key
        self.resource = dynamodb.Table(
            self,
            "Table",
            partition_key=_string("pk"),
            sort_key=_string("sk"),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
            encryption_key=key,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute=TTL_ATTRIBUTE if expires else None,
            stream=stream,
            deletion_protection=stage.production,
            removal_policy=stage.removal_policy,
        )
        for index in indexes:
            self.resource.add_global_secondary_index(
                index_name=index.name,
                partition_key=_string(index.partition_key),
                sort_key=_string(index.sort_key),
                projection_type=dynamodb.ProjectionType.ALL,
            )

    def access(self, *actions: str, query_index: str | None = None) -> TableAccess:
        """Return the permission to do exactly these actions.

        Parameters
        ----------
        actions
            DynamoDB actions on the table, without the service's prefix.
        query_index
            An index that may be queried too.
        """
        statements = []
        if actions:
            statements.append(
                iam.PolicyStatement(
                    actions=[f"dynamodb:{action}" for action in actions],
                    resources=[self.resource.table_arn],
                )
            )
        statements.append(
            self._key_statement(writes=any(action not in _READ_ONLY for action in actions))
        )
        if query_index is not None:
            statements.append(
                iam.PolicyStatement(
                    actions=["dynamodb:Query"],
                    resources=[f"{self.resource.table_arn}/index/{query_index}"],
                )
            )
        return TableAccess(
            environment_name=f"{self.name.upper()}_TABLE",
            table_name=self.resource.table_name,
            statements=tuple(statements),
        )

    def _key_statement(self, *, writes: bool) -> iam.PolicyStatement:
        region = self.resource.stack.region
        return iam.PolicyStatement(
            actions=[*_DECRYPT, *(_ENCRYPT if writes else ())],
            resources=[self._key.key_arn],
            # Through DynamoDB only: a function cannot use the key on anything else.
            conditions={"StringEquals": {"kms:ViaService": f"dynamodb.{region}.amazonaws.com"}},
        )


def _string(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
