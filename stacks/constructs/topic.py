"""A topic for the operators."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.stage import Stage


class StageTopic(Construct):
    """A topic, encrypted with a key of its own, that is spoken to over TLS only.

    Parameters
    ----------
    name
        What it is called within the stage.
    """

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, name: str) -> None:
        super().__init__(scope, construct_id)
        self._key = kms.Key(
            self,
            "Key",
            description=f"Encrypts the {name} of FlowStack ({stage.name})",
            enable_key_rotation=True,
            removal_policy=stage.removal_policy,
        )
        self.topic = sns.Topic(
            self,
            "Topic",
            topic_name=stage.name_of(name),
            display_name=f"FlowStack {stage.name} {name}",
            master_key=self._key,
            enforce_ssl=True,
        )

    def may_publish(self) -> tuple[iam.PolicyStatement, ...]:
        """Return the permission to publish; SNS encrypts with what the publisher may use."""
        return (
            iam.PolicyStatement(actions=["sns:Publish"], resources=[self.topic.topic_arn]),
            iam.PolicyStatement(
                actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[self._key.key_arn]
            ),
        )
