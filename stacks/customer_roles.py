"""The permission to assume the roles that customers make for FlowStack, and no others."""

from __future__ import annotations

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from constructs import IConstruct

from stacks.constructs.acknowledgement import acknowledge

ROLE_NAME_PREFIX = "flowstack-byok-"
EXTERNAL_ID_PREFIX = "flowstack:"


class CustomerRoleAccess:
    """Assuming roles of other accounts that are named for it, with an external id only.

    Roles of the operator's own account are out of reach, whatever their name and whomever they
    trust: a customer may name any role. Which customer an external id belongs to is for the
    function to see to.
    """

    def __init__(self, stack: Stack) -> None:
        self._partition = stack.partition
        self._resource = f"arn:{stack.partition}:iam::*:role/{ROLE_NAME_PREFIX}*"

    @property
    def statement(self) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=["sts:AssumeRole"],
            resources=[self._resource],
            conditions={
                "StringNotEquals": {"aws:ResourceAccount": Aws.ACCOUNT_ID},
                "StringLike": {"sts:ExternalId": f"{EXTERNAL_ID_PREFIX}*"},
            },
        )

    def acknowledge_on(self, construct: IConstruct) -> None:
        """Accept on a role that customers' accounts are not known beforehand."""
        # The rule writes pseudo parameters by their names.
        unknown = self._partition.startswith("${Token")
        reported = (
            self._resource.replace(self._partition, "<AWS::Partition>")
            if unknown
            else self._resource
        )
        acknowledge(
            construct,
            f"IAM5[Resource::{reported}]",
            "Any customer's account, but no role of this one, and with an external id only.",
        )
