"""How an agent is set up, and what it never shows or sends."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import httpx
import pytest

import flowstack
from flowstack import (
    Agent,
    AsyncAgent,
    AuthenticationError,
    ConfigurationError,
    CredentialsRequiredError,
    InvalidProviderError,
    Models,
    Providers,
    create_agent,
)
from flowstack.providers import REQUIRED_CREDENTIALS
from flowstack_core.domain import providers as core
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.http.requests import DEFAULT_MODEL
from tests.support.fake_api import KEY, URL, FakeApi, answer_document, refusal
from tests.support.local_http import LocalHandler, LocalServer


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWSTACK_API_KEY", raising=False)
    monkeypatch.delenv("FLOWSTACK_API_URL", raising=False)


def test_key_and_address_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, api: FakeApi
) -> None:
    monkeypatch.setenv("FLOWSTACK_API_KEY", KEY)
    monkeypatch.setenv("FLOWSTACK_API_URL", URL + "/")
    with httpx.Client(transport=api.transport) as http, Agent("analyst", http_client=http) as agent:
        agent.get_usage()
        assert agent.base_url == URL
    assert api.requests[0].headers["X-API-Key"] == KEY
    assert str(api.requests[0].url) == f"{URL}/usage"


def test_without_a_key_or_an_address_there_is_no_agent() -> None:
    with pytest.raises(AuthenticationError, match="FLOWSTACK_API_KEY"):
        Agent("analyst", base_url=URL)
    with pytest.raises(ConfigurationError, match="FLOWSTACK_API_URL"):
        Agent("analyst", KEY)


@pytest.mark.parametrize("key", ["fs_ab\ncd", "fs_ключ", "fs_a b"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(AuthenticationError) as refused:
        Agent("analyst", key, base_url=URL)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/prod",
        "http://192.168.0.7",
        "http://127.0.0.1.evil.example.com",
        "ftp://api.example.com",
        "api.example.com",
        "https://user:secret@api.example.com",
        "https://api.example.com?x=1",
        "https://",
    ],
)
def test_an_address_that_would_expose_the_key_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Agent("analyst", KEY, base_url=url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4566/x", "http://localhost", "http://a.localhost:1", "http://[::1]:1"]
)
def test_loopback_needs_no_tls(url: str) -> None:
    Agent("analyst", KEY, base_url=url).close()


def test_other_networks_need_none_where_the_caller_says_so() -> None:
    Agent("analyst", KEY, base_url="http://10.0.0.7", allow_http=True).close()


def test_loopback_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example.com:3128")
    with Agent("analyst", KEY, base_url="http://127.0.0.1:4566") as agent:
        http = agent._client._http
        direct = http._transport_for_url(httpx.URL("http://127.0.0.1:4566/usage"))
        assert direct is http._transport
    with Agent("analyst", KEY, base_url=URL) as agent:
        http = agent._client._http
        assert http._transport_for_url(httpx.URL(URL)) is not http._transport


def test_no_key_is_ever_shown(
    agent_of: Callable[..., Agent], api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "sk-canary"
    agent = agent_of(provider="openai", byok={"api_key": secret}, max_retries=0)
    shown = [
        repr(agent),
        str(agent),
        repr(agent._client),
        repr(agent._endpoint),
        repr(vars(agent._client)),
    ]
    for answer in (
        refusal(401, "UNAUTHORIZED"),
        httpx.ReadError("cut"),
        httpx.Response(200, json={}),
    ):
        api.says(answer)
        with pytest.raises(flowstack.FlowStackError) as failed:
            agent.chat("Hello")
        shown += [repr(failed.value), str(failed.value), str(failed.value.details)]
    shown += [caplog.text, repr(agent._chat_exchange("Hello", {}).operation())]
    assert not any(KEY in text or secret in text for text in shown)
    assert api.bodies[0]["byok_credentials"] == {"api_key": secret}


def test_a_provider_that_there_is_not_is_refused_at_once(
    agent_of: Callable[..., Agent],
) -> None:
    with pytest.raises(InvalidProviderError):
        agent_of(provider="acme")
    with pytest.raises(InvalidProviderError):
        agent_of().set_provider("acme")


def test_incomplete_credentials_are_refused_at_once(agent_of: Callable[..., Agent]) -> None:
    with pytest.raises(CredentialsRequiredError) as refused:
        agent_of(provider="bedrock", byok={"aws_access_key": "AKIA", "aws_secret_key": ""})
    assert refused.value.details == {"provider": "bedrock", "missing": ["aws_secret_key"]}
    assert refused.value.provider == "bedrock"


def test_a_role_stands_in_for_keys(agent_of: Callable[..., Agent]) -> None:
    role = {"role_arn": "arn:aws:iam::123456789012:role/flowstack-byok-x", "external_id": "x"}
    assert agent_of(provider="bedrock", byok=role).byok == role
    with pytest.raises(CredentialsRequiredError) as refused:
        agent_of(provider="bedrock", byok={"role_arn": role["role_arn"]})
    assert refused.value.details["missing"] == ["external_id"]


def test_credentials_may_be_stored_at_flowstack_instead(
    agent_of: Callable[..., Agent], api: FakeApi
) -> None:
    agent_of(provider="openai", model=Models.GPT_4O).chat("Hello")
    assert "byok_credentials" not in api.bodies[0]


def test_another_provider_is_not_sent_the_credentials_of_the_one_before(
    agent: Agent, api: FakeApi
) -> None:
    agent.set_provider("openai", byok={"api_key": "sk-1"})
    agent.set_model(Models.GPT_4O)
    agent.chat("Hello")
    agent.set_provider("bedrock")
    agent.chat("Hello")
    first, second = api.bodies
    assert (first["provider"], first["model"]) == ("openai", "gpt-4o")
    assert first["byok_credentials"] == {"api_key": "sk-1"}
    assert "byok_credentials" not in second


def test_the_agents_credentials_are_its_own_copy(
    agent_of: Callable[..., Agent], api: FakeApi
) -> None:
    byok = {"api_key": "sk-1"}
    agent = agent_of(provider="openai", byok=byok)
    byok["api_key"] = "sk-2"
    agent.chat("Hello")
    assert api.bodies[0]["byok_credentials"] == {"api_key": "sk-1"}


def test_a_setting_that_there_is_not_is_refused() -> None:
    settings: dict[str, Any] = {"temprature": 0.5}
    with pytest.raises(TypeError, match="temprature"):
        Agent("analyst", KEY, base_url=URL, **settings)


def test_messages_share_one_connection() -> None:
    connections: set[object] = set()

    class Handler(LocalHandler):
        def do_POST(self) -> None:  # noqa: N802 (the base class names it)
            connections.add(self.client_address)
            self.read_body()
            self.reply_json(200, answer_document())

    with LocalServer(Handler) as server, Agent("analyst", KEY, base_url=server.url) as agent:
        for _ in range(5):
            agent.chat("Hello")
    assert len(connections) == 1


def test_create_agent_is_the_constructor() -> None:
    with create_agent("analyst", KEY, "openai", "gpt-4o", base_url=URL) as agent:
        assert (agent.name, agent.provider, agent.model) == ("analyst", "openai", "gpt-4o")


def test_a_client_that_was_given_stays_open(api: FakeApi) -> None:
    http = httpx.Client(transport=api.transport)
    Agent("analyst", KEY, base_url=URL, http_client=http).close()
    assert not http.is_closed
    agent = Agent("analyst", KEY, base_url=URL)
    own = agent._client._http
    agent.close()
    assert own.is_closed


def test_a_forgotten_agent_gives_its_connections_back() -> None:
    agent = Agent("analyst", KEY, base_url=URL)
    http = agent._client._http
    del agent
    import gc

    gc.collect()
    assert http.is_closed


# --- what the server knows ------------------------------------------------------------------------


def test_the_default_model_is_the_servers() -> None:
    assert Models.DEFAULT == DEFAULT_MODEL


def test_the_providers_are_the_servers() -> None:
    theirs = {name.value: tuple(way.required for way in ways) for name, ways in core.WAYS.items()}
    assert dict(REQUIRED_CREDENTIALS) == theirs
    assert Providers.get_managed_providers() == ["bedrock"]
    assert Providers.requires_byok("openai")
    assert not Providers.requires_byok("bedrock")
    assert Providers.supports_managed_billing("bedrock")
    assert set(Providers.get_all_providers()) == {"bedrock", *Providers.get_byok_only_providers()}


def test_every_model_on_bedrock_is_one_the_server_knows() -> None:
    catalogue = default_catalogue()
    for name in Models.get_bedrock_models():
        # Some are called in one region only.
        region = "us-west-2" if "mistral-large-2407" in name else "us-east-1"
        catalogue.resolve(name, region, date(2026, 11, 24))


# --- programs for version 1 -----------------------------------------------------------------------


def test_what_programs_for_version_1_import_is_there() -> None:
    for name in (
        *("Agent", "Models", "Providers", "BillingManager"),
        *("FlowStackError", "AuthenticationError", "QuotaExceededError"),
    ):
        assert name in flowstack.__all__
    from flowstack import agent, billing, exceptions, models, providers

    assert agent.create_agent is create_agent
    assert billing.UsageStats is flowstack.UsageStats
    assert models.Models.CLAUDE_35_SONNET == "anthropic.claude-3-5-sonnet-20240620-v1:0"
    assert providers.Providers.LITELLM
    for name in (
        *("InvalidProviderError", "CredentialsRequiredError", "ModelNotAvailableError"),
        *("BillingError", "TierLimitationError"),
    ):
        assert issubclass(getattr(exceptions, name), flowstack.FlowStackError)


def test_importing_it_needs_no_environment_and_no_extra() -> None:
    # None in sys.modules makes an import fail as it does where the package is not installed.
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('typer', 'rich', 'boto3')));"
        "import flowstack; print(flowstack.Agent.__name__)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "Agent"


def test_all_names_exist_and_are_sorted() -> None:
    assert all(hasattr(flowstack, name) for name in flowstack.__all__)
    assert AsyncAgent.__name__ in flowstack.__all__
