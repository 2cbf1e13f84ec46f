"""What a function is told by its environment; read once, on first use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Settings:
    """Names and switches of the stage.

    Attributes
    ----------
    stage
        ``local``, ``dev``, ``prod`` or whatever the operator calls it.
    test_clocks
        Whether customers can have a test clock; never on a production stage.
    """

    stage: str
    region: str
    accounts_table: str
    sessions_table: str
    usage_table: str
    vault_table: str
    test_clocks: bool

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read the environment. A function is given the tables it may touch, and no others."""
        return cls(
            stage=environment["FLOWSTACK_STAGE"],
            region=environment["AWS_REGION"],
            accounts_table=environment.get("ACCOUNTS_TABLE", ""),
            sessions_table=environment.get("SESSIONS_TABLE", ""),
            usage_table=environment.get("USAGE_TABLE", ""),
            vault_table=environment.get("VAULT_TABLE", ""),
            test_clocks=environment.get("TEST_CLOCKS") == "enabled",
        )


@cache
def settings() -> Settings:
    """Return the settings of this execution environment."""
    return Settings.of(os.environ)
