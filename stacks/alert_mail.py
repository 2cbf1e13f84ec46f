"""What only a stage has that sends mail: a sender, and the permission to send as it."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

CONTEXT = "alert_sender"
"""The CDK context that names the sender; without it no mail is sent, and none may be."""


class MailSender:
    """An address that is an identity verified at SES, in the stage's account and region."""

    def __init__(self, stack: Stack, address: str) -> None:
        self._stack = stack
        self.address = address

    @classmethod
    def configured(cls, stack: Stack) -> MailSender | None:
        """Return the sender that the context names, if it does."""
        address = stack.node.try_get_context(CONTEXT)
        return None if address in {None, ""} else cls(stack, str(address))

    @property
    def environment(self) -> dict[str, str]:
        return {"ALERT_SENDER": self.address}

    @property
    def statement(self) -> iam.PolicyStatement:
        identity = self._stack.format_arn(
            service="ses", resource="identity", resource_name=self.address
        )
        return iam.PolicyStatement(actions=["ses:SendEmail"], resources=[identity])
