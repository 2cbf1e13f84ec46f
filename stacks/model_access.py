"""What a function needs that has messages answered, at once or later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import IConstruct

from stacks.bedrock_models import CatalogueAccess
from stacks.constructs.layer import Layer, ProvidersLayer
from stacks.constructs.table import TableAccess
from stacks.customer_roles import CustomerRoleAccess
from stacks.data_stack import CREDENTIALS, DataStack
from stacks.sources import Sources
from stacks.stage import Stage


class ModelAccess:
    """Asking models: managed ones, and customers' own with their roles or stored credentials.

    Attributes
    ----------
    layers
        The clients of providers other than AWS.
    environment
        What tells a function where to find credentials and providers.
    """

    def __init__(self, stack: Stack, *, stage: Stage, sources: Sources, data: DataStack) -> None:
        self._models = CatalogueAccess(stack, sources.models)
        self._roles = CustomerRoleAccess(stack)
        self._data = data
        self.layers: Sequence[Layer] = [
            ProvidersLayer(stack, "Providers", stage=stage, sources=sources)
        ]
        self.environment: Mapping[str, str] = {
            "CREDENTIALS_KEY": data.credentials_key.key_arn,
            **stage.egress_environment,
        }

    @property
    def statements(self) -> list[iam.PolicyStatement]:
        """The permission to call models, to assume customers' roles, to open credentials."""
        return [
            self._models.statement,
            self._roles.statement,
            self._data.credentials_access("Decrypt"),
        ]

    def accounts(self, *actions: str) -> TableAccess:
        """Return the permission to find subscriptions and credentials, and to do ``actions``."""
        return self._data.accounts.access(
            "GetItem",
            *actions,
            # When stored credentials were last used.
            partitions={CREDENTIALS: ["UpdateItem"]},
        )

    def acknowledge_on(self, construct: IConstruct) -> None:
        """Accept on a role what cannot be known beforehand: regions, and customers' accounts."""
        self._models.acknowledge_on(construct)
        self._roles.acknowledge_on(construct)
