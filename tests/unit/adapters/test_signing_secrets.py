"""Where signing secrets come from, and what is taken for one."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from flowstack_core.adapters.signing_secrets import UnusableSigningSecretError, signing_secrets

ARN = "arn:aws:secretsmanager:us-east-1:111122223333:secret:stripe-AbCdEf"


def client_of(service: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def stored(value: str) -> tuple[str, ...]:
    client = client_of("secretsmanager")
    with Stubber(client) as stub:
        stub.add_response("get_secret_value", {"SecretString": value}, {"SecretId": ARN})
        return signing_secrets(ARN, client)()


@pytest.mark.parametrize("value", ["whsec_a", " whsec_a\n"])
def test_a_secret_is_read_from_secrets_manager(value: str) -> None:
    assert stored(value) == ("whsec_a",)


def test_a_parameter_is_read_decrypted() -> None:
    client = client_of("ssm")
    with Stubber(client) as stub:
        stub.add_response(
            "get_parameter",
            {"Parameter": {"Value": "whsec_a"}},
            {"Name": "/flowstack/stripe", "WithDecryption": True},
        )
        assert signing_secrets("ssm:/flowstack/stripe", client)() == ("whsec_a",)


def test_a_secret_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of("secretsmanager")
    with Stubber(client) as stub:
        stub.add_response("get_secret_value", {"SecretString": "whsec_a"})
        read = signing_secrets(ARN, client)
        assert read() == read()
        stub.assert_no_pending_responses()


@pytest.mark.parametrize("value", ["whsec_a whsec_b", "whsec_a\nwhsec_b\n"])
def test_two_secrets_stand_together_while_one_is_replaced(value: str) -> None:
    assert stored(value) == ("whsec_a", "whsec_b")


@pytest.mark.parametrize(
    "value",
    ["canary", '{"key": "whsec_canary"}', "whsec_canary canary", "whsec_1 whsec_2 whsec_canary"],
)
def test_what_is_no_secret_is_not_used_and_not_told(value: str) -> None:
    with pytest.raises(UnusableSigningSecretError) as caught:
        stored(value)
    assert "canary" not in repr(caught.value)
