"""The permission to call the models of the catalogue, and no others."""

from __future__ import annotations

import json
from pathlib import Path

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import IConstruct

from stacks.constructs.acknowledgement import acknowledge


class CatalogueAccess:
    """Calling the models that AWS has not retired, directly or through an inference profile.

    An inference profile spreads calls over the regions of a geography, and the caller needs
    permission for the model in each of them; see "Prerequisites for inference profiles" in the
    Amazon Bedrock User Guide. Hence any region, but only these models.
    """

    def __init__(self, stack: Stack, catalogue: Path) -> None:
        models = _callable_models(catalogue)
        prefix = f"arn:{stack.partition}:bedrock"
        profiles = f"{prefix}:{stack.region}:{stack.account}:inference-profile"
        self._resources = [
            *(f"{prefix}:*::foundation-model/{model}" for model in models),
            *(f"{profiles}/*.{model}" for model, has_profile in models.items() if has_profile),
        ]
        self._stack = stack

    @property
    def statement(self) -> iam.PolicyStatement:
        return iam.PolicyStatement(actions=["bedrock:InvokeModel"], resources=self._resources)

    def acknowledge_on(self, construct: IConstruct) -> None:
        """Accept on a role that a model is callable in every region of its geography."""
        for resource in self._resources:
            acknowledge(
                construct,
                f"IAM5[Resource::{self._as_reported(resource)}]",
                "A cross-region inference profile calls the model in any region of its geography.",
            )

    def _as_reported(self, resource: str) -> str:
        """Return an ARN as the rule writes it: with the names of pseudo parameters."""
        names = {
            self._stack.partition: "<AWS::Partition>",
            self._stack.region: "<AWS::Region>",
            self._stack.account: "<AWS::AccountId>",
        }
        for token, name in names.items():
            if token.startswith("${Token"):
                resource = resource.replace(token, name)
        return resource


def _callable_models(catalogue: Path) -> dict[str, bool]:
    """Return the Bedrock ids of models not retired, and whether inference profiles reach them."""
    models = json.loads(catalogue.read_text(encoding="utf-8"))["models"]
    return {
        model["bedrock_model_id"]: bool(model["profiles"])
        for model in models
        if model["state"] != "retired"
    }
