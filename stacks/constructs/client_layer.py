"""The Python client as a layer, for agents that run in Lambda functions of their owners."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import CfnOutput
from constructs import Construct

from stacks.constructs.layer import CoreLayer
from stacks.sources import Sources
from stacks.stage import Stage


class ClientSources(Sources):
    """The client and its lock, in the places where `CoreLayer` looks for the core's."""

    @property
    def core(self) -> Path:
        """The client's package."""
        return self.root / "layers" / "client" / "flowstack"

    @property
    def layer_lock(self) -> Path:
        """The client's dependencies, each pinned by hash."""
        return self.root / "requirements" / "client.lock"


class ClientLayer(Construct):
    """The package ``flowstack`` with its dependencies; the output ``ClientLayerArn`` names it."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, sources: Sources
    ) -> None:
        super().__init__(scope, construct_id)
        layer = CoreLayer(self, "Layer", stage=stage, sources=ClientSources(sources.root))
        CfnOutput(self, "Arn", value=layer.version.layer_version_arn).override_logical_id(
            "ClientLayerArn"
        )
