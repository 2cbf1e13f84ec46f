"""What only a stage has that takes payments: a layer with Stripe's code, and one signing secret."""

from __future__ import annotations

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.constructs.layer import Layer, LayerContents
from stacks.sources import Sources
from stacks.stage import Stage

CONTEXT = "stripe_webhook_secret"
"""The CDK context that says where the signing secret is kept; without it nothing is deployed."""

VARIABLE = "STRIPE_WEBHOOK_SECRET"
_SSM_PREFIX = "ssm:"


def payments_contents(sources: Sources) -> LayerContents:
    """Return Stripe's library; what it shares with the core is in the core's layer."""
    return LayerContents("Verification of payment events", sources.payments_lock)


class PaymentsLayer(Layer):
    """What the payments function has beside the core."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, sources: Sources
    ) -> None:
        super().__init__(
            scope, construct_id, stage=stage, sources=sources, contents=payments_contents(sources)
        )


class SigningSecret:
    """Where the operator keeps the signing secret, and the permission to read it and no other.

    Parameters
    ----------
    reference
        ``ssm:/path`` of a SecureString, or the ARN or the name of a secret.
    """

    def __init__(self, stack: Stack, reference: str) -> None:
        self._stack = stack
        self.reference = reference

    @classmethod
    def configured(cls, stack: Stack) -> SigningSecret | None:
        """Return the secret that the context names, if it does."""
        reference = stack.node.try_get_context(CONTEXT)
        return None if reference in {None, ""} else cls(stack, str(reference))

    @property
    def statement(self) -> iam.PolicyStatement:
        if self.reference.startswith(_SSM_PREFIX):
            return iam.PolicyStatement(
                actions=["ssm:GetParameter"], resources=[self._parameter_arn()]
            )
        return iam.PolicyStatement(
            actions=["secretsmanager:GetSecretValue"], resources=[self._secret_arn()]
        )

    def _parameter_arn(self) -> str:
        path = self.reference.removeprefix(_SSM_PREFIX).lstrip("/")
        return self._stack.format_arn(service="ssm", resource="parameter", resource_name=path)

    def _secret_arn(self) -> str:
        if self.reference.startswith("arn:"):
            return self.reference
        return self._stack.format_arn(
            service="secretsmanager",
            resource="secret",
            # Secrets Manager adds six characters to a name.
            resource_name=f"{self.reference}-??????",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
