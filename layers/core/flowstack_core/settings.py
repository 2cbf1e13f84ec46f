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
    cost_share_percent
        From which share of its price on a customer's cost is of interest.
    quiet_seconds
        How long the longest request goes on after its customer was stopped.
    test_clocks
        Whether customers can have a test clock; never on a production stage.
    stripe_webhook_secret
        Where the signing secret is kept, not the secret.
    credentials_key
        The KMS key that seals stored credentials, for the functions that may use it.
    alert_topic
        The topic of the operators for customers' alerts.
    alert_sender
        The address that mail to customers comes from; empty where none is sent.
    webhooks_queue_url
        Where events for customers' webhooks go.
    loopback_egress
        Whether customers' hosts may be on this machine, without TLS; on a local stage only.
    vendors_endpoint
        Where the vendors of models are found instead of on the Internet; on a local stage only.
    webhook_retry_seconds
        The waits between attempts of webhooks instead of the usual ones; on a local stage only.
    """

    stage: str
    region: str
    accounts_table: str
    sessions_table: str
    usage_table: str
    vault_table: str
    test_clocks: bool
    steps_queue_url: str = ""
    closes_queue_url: str = ""
    closes_dead_letters_url: str = ""
    deferred_queue_url: str = ""
    event_bus_name: str = ""
    alert_topic: str = ""
    alert_sender: str = ""
    stripe_webhook_secret: str = ""
    credentials_key: str = ""
    loopback_egress: bool = False
    vendors_endpoint: str | None = None
    data_rights_queue_url: str = ""
    archives_bucket: str = ""
    quiet_seconds: int = 0
    webhooks_queue_url: str = ""
    webhooks_dead_letters_url: str = ""
    webhook_retry_seconds: tuple[int, ...] = ()
    margins_queue_url: str = ""
    cost_share_percent: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read the environment. A function is given what it may touch, and nothing else."""
        local = environment["FLOWSTACK_STAGE"] == _LOCAL_STAGE
        return cls(
            stage=environment["FLOWSTACK_STAGE"],
            region=environment["AWS_REGION"],
            accounts_table=environment.get("ACCOUNTS_TABLE", ""),
            sessions_table=environment.get("SESSIONS_TABLE", ""),
            usage_table=environment.get("USAGE_TABLE", ""),
            vault_table=environment.get("VAULT_TABLE", ""),
            test_clocks=environment.get("TEST_CLOCKS") == "enabled",
            steps_queue_url=environment.get("STEPS_QUEUE_URL", ""),
            closes_queue_url=environment.get("CLOSES_QUEUE_URL", ""),
            closes_dead_letters_url=environment.get("CLOSES_DEAD_LETTERS_URL", ""),
            deferred_queue_url=environment.get("DEFERRED_QUEUE_URL", ""),
            event_bus_name=environment.get("EVENT_BUS_NAME", ""),
            alert_topic=environment.get("ALERT_TOPIC", ""),
            alert_sender=environment.get("ALERT_SENDER", ""),
            stripe_webhook_secret=environment.get("STRIPE_WEBHOOK_SECRET", ""),
            credentials_key=environment.get("CREDENTIALS_KEY", ""),
            # Whatever a function elsewhere is told, it never goes where only it can go.
            loopback_egress=local and environment.get("LOOPBACK_EGRESS") == "allowed",
            vendors_endpoint=environment.get("VENDORS_ENDPOINT") if local else None,
            data_rights_queue_url=environment.get("DATA_RIGHTS_QUEUE_URL", ""),
            archives_bucket=environment.get("ARCHIVES_BUCKET", ""),
            quiet_seconds=int(environment.get("QUIET_SECONDS", "0")),
            webhooks_queue_url=environment.get("WEBHOOKS_QUEUE_URL", ""),
            webhooks_dead_letters_url=environment.get("WEBHOOKS_DEAD_LETTERS_URL", ""),
            webhook_retry_seconds=(
                tuple(map(int, environment.get("WEBHOOK_RETRY_SECONDS", "").split()))
                if local
                else ()
            ),
            margins_queue_url=environment.get("MARGINS_QUEUE_URL", ""),
            cost_share_percent=int(environment.get("COST_SHARE_PERCENT", "0")),
        )


@cache
def settings() -> Settings:
    """Return the settings of this execution environment."""
    return Settings.of(os.environ)
