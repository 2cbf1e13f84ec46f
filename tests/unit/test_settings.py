"""What a function is told by its environment."""

from __future__ import annotations

import pytest

from flowstack_core.settings import Settings

TOLD = {
    "LOOPBACK_EGRESS": "allowed",
    "VENDORS_ENDPOINT": "http://127.0.0.1:4803",
    "WEBHOOK_RETRY_SECONDS": "1 1 2",
}


def told(stage: str, **more: str) -> Settings:
    return Settings.of({"FLOWSTACK_STAGE": stage, "AWS_REGION": "us-east-1", **more})


@pytest.mark.parametrize("stage", ["dev", "prod", "Local", ""])
def test_whatever_it_is_told_a_function_on_aws_never_reaches_its_own_machine(stage: str) -> None:
    settings = told(stage, **TOLD)
    assert settings.loopback_egress is False
    assert settings.vendors_endpoint is None
    assert settings.webhook_retry_seconds == ()


def test_a_local_stage_reaches_its_own_machine_where_that_is_allowed() -> None:
    settings = told("local", **TOLD)
    assert settings.loopback_egress is True
    assert settings.vendors_endpoint == TOLD["VENDORS_ENDPOINT"]
    assert settings.webhook_retry_seconds == (1, 1, 2)
    assert told("local").webhook_retry_seconds == ()
    assert told("local").loopback_egress is False
    assert told("local", LOOPBACK_EGRESS="1").loopback_egress is False
