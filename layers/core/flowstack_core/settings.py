"""What a function is told by its environment; read once, on first use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

_LOCAL_STAGE = "local"


@dataclass(frozen=True, slots=True)
class Settings:
    """Names and switches of the stage.

    Attributes
    ----------
    stage
        ``local``, ``dev``, ``prod`` or whatever the operator calls it.
    test_clocks
        Whether customers can have a test clock; never on a production stage.
    loopback_egress
        Whether customers' hosts may be on this machine, without TLS; on a local stage only.
    vendors_endpoint
        Where the vendors of models are found instead of on the Internet; on a local stage only.
    """

    stage: str
    region: str
    accounts_table: str
    sessions_table: str
    usage_table: str
    test_clocks: bool
    loopback_egress: bool = False
    vendors_endpoint: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read the environment. A function is given the tables it may touch, and no others."""
        local = environment["FLOWSTACK_STAGE"] == _LOCAL_STAGE
        return cls(
            stage=environment["FLOWSTACK_STAGE"],
            region=environment["AWS_REGION"],
            accounts_table=environment.get("ACCOUNTS_TABLE", ""),
            sessions_table=environment.get("SESSIONS_TABLE", ""),
            usage_table=environment.get("USAGE_TABLE", ""),
            test_clocks=environment.get("TEST_CLOCKS") == "enabled",
            # Whatever a function elsewhere is told, it never goes where only it can go.
            loopback_egress=local and environment.get("LOOPBACK_EGRESS") == "allowed",
            vendors_endpoint=environment.get("VENDORS_ENDPOINT") if local else None,
        )


@cache
def settings() -> Settings:
    """Return the settings of this execution environment."""
    return Settings.of(os.environ)
