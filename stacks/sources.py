"""Where the code that the stacks deploy is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sources:
    """Paths below the root of the repository."""

    root: Path

    @property
    def core(self) -> Path:
        """The package that the layer shares among the functions."""
        return self.root / "layers" / "core" / "flowstack_core"

    @property
    def layer_lock(self) -> Path:
        """The layer's dependencies, each pinned by hash."""
        return self.root / "requirements" / "layer.lock"

    @property
    def providers_lock(self) -> Path:
        """What the clients of other providers than Bedrock need, beyond the layer's own."""
        return self.root / "requirements" / "providers.lock"

    @property
    def client(self) -> Path:
        """The package of the customers' Python client."""
        return self.root / "layers" / "client" / "flowstack"

    @property
    def client_lock(self) -> Path:
        """The client's dependencies, each pinned by hash."""
        return self.root / "requirements" / "client.lock"

    @property
    def models(self) -> Path:
        """The catalogue of models."""
        return self.core / "domain" / "models.json"

    @property
    def payments_lock(self) -> Path:
        """What verifying Stripe's webhooks needs, beyond the layer's own."""
        return self.root / "requirements" / "payments.lock"

    def function(self, name: str) -> Path:
        return self.root / "functions" / name
