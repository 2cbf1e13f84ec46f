"""Findings of the AwsSolutions rules that are meant to be so, each with its reason."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept one finding of one AwsSolutions rule on a construct and what is below it.

    Parameters
    ----------
    rule
        The rule without its pack, with the finding where a rule has several:
        ``APIG2``, ``IAM5[Resource::*]``.
    """
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason))
