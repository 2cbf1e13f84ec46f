"""A stack with functions in it."""

from __future__ import annotations

from typing import Any

from aws_cdk import Stack
from constructs import Construct

from stacks.constructs.function import StageFunction
from stacks.constructs.layer import CoreLayer
from stacks.sources import Sources
from stacks.stage import Stage


class FunctionStack(Stack):
    """A stack whose functions share one version of the core layer."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, sources: Sources, **kwargs: Any
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        self._stage = stage
        self._sources = sources
        self._layer = CoreLayer(self, "Core", stage=stage, sources=sources)

    def _function(self, construct_id: str, **kwargs: Any) -> StageFunction:
        return StageFunction(
            self,
            construct_id,
            stage=self._stage,
            sources=self._sources,
            layer=self._layer,
            **kwargs,
        )
