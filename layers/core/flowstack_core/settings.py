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
    quiet_seconds
        How long the longest request goes on after its customer was stopped.
    test_clocks
        Whether customers can have a test clock; never on a production stage.
    """

    stage: str
    region: str
    accounts_table: str
    sessions_table: str
    usage_table: str
    test_clocks: bool
    steps_queue_url: str = ""
    closes_queue_url: str = ""
    closes_dead_letters_url: str = ""
    event_bus_name: str = ""
    vault_table: str = ""
    data_rights_queue_url: str = ""
    archives_bucket: str = ""
    quiet_seconds: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read the environment. A function is given what it may touch, and nothing else."""
        return cls(
            stage=environment["FLOWSTACK_STAGE"],
            region=environment["AWS_REGION"],
            accounts_table=environment.get("ACCOUNTS_TABLE", ""),
            sessions_table=environment.get("SESSIONS_TABLE", ""),
            usage_table=environment.get("USAGE_TABLE", ""),
            test_clocks=environment.get("TEST_CLOCKS") == "enabled",
            steps_queue_url=environment.get("STEPS_QUEUE_URL", ""),
            closes_queue_url=environment.get("CLOSES_QUEUE_URL", ""),
            closes_dead_letters_url=environment.get("CLOSES_DEAD_LETTERS_URL", ""),
            event_bus_name=environment.get("EVENT_BUS_NAME", ""),
            vault_table=environment.get("VAULT_TABLE", ""),
            data_rights_queue_url=environment.get("DATA_RIGHTS_QUEUE_URL", ""),
            archives_bucket=environment.get("ARCHIVES_BUCKET", ""),
            quiet_seconds=int(environment.get("QUIET_SECONDS", "0")),
        )


@cache
def settings() -> Settings:
    """Return the settings of this execution environment."""
    return Settings.of(os.environ)
