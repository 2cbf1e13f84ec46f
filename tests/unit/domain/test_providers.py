"""Providers and the customer's own credentials (P4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.errors import (
    CredentialsRequiredError,
    FlowStackError,
    InvalidProviderError,
    InvalidRequestError,
)
from flowstack_core.domain.providers import (
    WAYS,
    Provider,
    ProviderCredentials,
    Way,
    check_external_id,
    external_id_of,
    parse_credentials,
    parse_provider,
)

SECRET = "s3cr3t-Value"
AWS = {"aws_access_key": "AKIA1", "aws_secret_key": SECRET}


ROLE = {
    "role_arn": "arn:aws:iam::123456789012:role/flowstack-byok-models",
    "external_id": "flowstack:cus_1",
}
FORMED = {"region": "us-east-1", "endpoint_name": "my-endpoint", **ROLE}
EVERY_WAY = [(provider, way) for provider in Provider for way in WAYS[provider]]


def complete(provider: Provider, way: Way | None = None) -> dict[str, str]:
    required = (way or WAYS[provider][0]).required
    return {name: FORMED.get(name, SECRET) for name in required}


@pytest.mark.parametrize("name", ["bedrock", "Bedrock", " OPENAI "])
def test_a_provider_is_known_in_any_case(name: str) -> None:
    assert parse_provider(name).value == name.strip().lower()


@pytest.mark.parametrize("name", ["", "azure", "bed rock", "x" * 1000, "\x1b[31m"])
def test_an_unknown_provider_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InvalidProviderError) as refused:
        parse_provider(name)
    assert refused.value.details["providers"] == [provider.value for provider in Provider]
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 150


@pytest.mark.parametrize("values", [None, {}])
def test_p4_bedrock_without_credentials_is_managed(values: dict[str, str] | None) -> None:
    assert parse_credentials(Provider.BEDROCK, values) is None


def test_p4_only_bedrock_is_managed() -> None:
    assert [provider for provider in Provider if provider.managed] == [Provider.BEDROCK]


@pytest.mark.parametrize("provider", [each for each in Provider if not each.managed])
@pytest.mark.parametrize("values", [None, {}])
def test_p4_a_byok_only_provider_without_credentials_requires_them(
    provider: Provider, values: dict[str, str] | None
) -> None:
    with pytest.raises(CredentialsRequiredError) as refused:
        parse_credentials(provider, values)
    assert refused.value.code == "CREDENTIALS_REQUIRED"
    assert refused.value.details["provider"] == provider.value
    assert refused.value.details["missing"] == list(WAYS[provider][0].required)


@pytest.mark.parametrize(
    ("provider", "way", "field"),
    [(provider, way, field) for provider, way in EVERY_WAY for field in way.required],
)
def test_p4_each_credential_of_each_provider_is_required(
    provider: Provider, way: Way, field: str
) -> None:
    values = {**complete(provider, way), "left": SECRET}
    del values[field]
    with pytest.raises(CredentialsRequiredError) as refused:
        parse_credentials(provider, values)
    assert refused.value.details["missing"] == [field]


@pytest.mark.parametrize(("provider", "way"), EVERY_WAY)
def test_complete_credentials_are_kept_as_they_are(provider: Provider, way: Way) -> None:
    values = complete(provider, way)
    credentials = parse_credentials(provider, values)
    assert credentials is not None
    assert credentials.provider is provider
    assert dict(credentials.values) == values


def test_credentials_do_not_change_after_they_were_checked() -> None:
    values = dict(AWS)
    credentials = parse_credentials(Provider.BEDROCK, values)
    values["aws_secret_key"] = "other"
    assert credentials is not None
    assert credentials.values["aws_secret_key"] == SECRET
    with pytest.raises(TypeError):
        credentials.values["aws_secret_key"] = "other"  # type: ignore[index]


def test_bedrock_takes_a_session_token_and_a_region() -> None:
    values = {**AWS, "aws_session_token": "t", "region": "ap-southeast-2"}
    credentials = parse_credentials(Provider.BEDROCK, values)
    assert credentials is not None
    assert dict(credentials.values) == values


@pytest.mark.parametrize("region", ["us-east-1", "us-gov-west-1", "me-central-1", "us-iso-east-1"])
def test_a_region_looks_like_one(region: str) -> None:
    assert parse_credentials(Provider.BEDROCK, {**AWS, "region": region}) is not None


@pytest.mark.parametrize(
    "region", ["here", "us-east-1.evil.example", "us-east-1/", "US-EAST-1", "us-east-1 ", "us--1"]
)
def test_what_is_not_a_region_never_becomes_part_of_a_host_name(region: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_credentials(Provider.BEDROCK, {**AWS, "region": region})
    assert refused.value.details["field"] == "byok_credentials.region"


@pytest.mark.parametrize("name", ["", "end/point", "end.point", "-endpoint", "e" * 64, "../other"])
def test_what_is_not_an_endpoints_name_never_becomes_part_of_a_path(name: str) -> None:
    values = {**complete(Provider.SAGEMAKER), "endpoint_name": name}
    with pytest.raises(FlowStackError) as refused:
        parse_credentials(Provider.SAGEMAKER, values)
    assert refused.value.code == ("INVALID_REQUEST" if name else "CREDENTIALS_REQUIRED")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:role/Admin",
        "arn:aws:iam::123456789012:role/flowstack-byok-",
        "arn:aws:iam::123456789012:user/flowstack-byok-models",
        "arn:aws:iam::12345:role/flowstack-byok-models",
        "arn:aws:iam::123456789012:role/path/flowstack-byok-models",
        "flowstack-byok-models",
    ],
)
def test_a_role_is_one_that_the_operator_may_assume(arn: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_credentials(Provider.BEDROCK, {**ROLE, "role_arn": arn})
    assert refused.value.details["field"] == "byok_credentials.role_arn"


@pytest.mark.parametrize("provider", [Provider.BEDROCK, Provider.SAGEMAKER])
def test_keys_and_a_role_are_not_mixed(provider: Provider) -> None:
    with pytest.raises(InvalidRequestError, match="fields it does not take"):
        parse_credentials(provider, {**complete(provider), **ROLE})


def test_p4_sagemaker_is_never_reached_with_the_operators_role() -> None:
    for way in WAYS[Provider.SAGEMAKER]:
        assert {"aws_secret_key", "external_id"} & set(way.required)
    with pytest.raises(CredentialsRequiredError) as refused:
        parse_credentials(Provider.SAGEMAKER, {"endpoint_name": "mine", "region": "us-east-1"})
    assert refused.value.details["missing"] == ["aws_access_key", "aws_secret_key"]


def test_a_role_is_assumed_for_the_customer_that_it_trusts_and_for_no_other() -> None:
    credentials = parse_credentials(Provider.BEDROCK, ROLE)
    check_external_id(credentials, "cus_1")
    with pytest.raises(InvalidRequestError) as refused:
        check_external_id(credentials, "cus_2")
    assert refused.value.details["external_id"] == external_id_of("cus_2")
    assert "cus_1" not in f"{refused.value.message}{refused.value.details}"


def test_credentials_without_a_role_need_no_external_id() -> None:
    check_external_id(None, "cus_1")
    check_external_id(ProviderCredentials(Provider.OPENAI, {"api_key": SECRET}), "cus_1")


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}\x00", f"{SECRET}é", SECRET * 400])
def test_a_value_that_cannot_be_a_credential_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_credentials(Provider.OPENAI, {"api_key": value})
    assert refused.value.details == {"field": "byok_credentials.api_key"}
    assert SECRET not in refused.value.message


def test_an_empty_optional_value_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="aws_session_token"):
        parse_credentials(Provider.BEDROCK, {**AWS, "aws_session_token": ""})


def test_an_unknown_field_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_credentials(Provider.OPENAI, {"api_key": SECRET, "key-typo": SECRET})
    assert refused.value.details["allowed"] == ["api_key"]
    assert "key-typo" not in f"{refused.value.message}{refused.value.details}"


@pytest.mark.parametrize("provider", Provider)
def test_credentials_are_never_printed(provider: Provider) -> None:
    credentials = parse_credentials(provider, complete(provider))
    shown = f"{credentials} {credentials!r} {[credentials]}"
    assert SECRET not in shown
    assert provider.value in str(credentials)


FIELDS = sorted(
    {field for ways in WAYS.values() for way in ways for field in way.fields} | {"other"}
)


@given(
    st.sampled_from(list(Provider)),
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.sampled_from([SECRET, f"{SECRET}\n", SECRET * 500, f"\u00e9{SECRET}"]),
    ),
)
def test_no_refusal_holds_a_credential(provider: Provider, values: dict[str, str]) -> None:
    try:
        outcome: object = parse_credentials(provider, values)
    except FlowStackError as refused:
        outcome = (refused.message, refused.details, refused, refused.__cause__)
    assert SECRET not in f"{outcome} {outcome!r}"
