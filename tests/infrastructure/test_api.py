"""The REST API and the answers it makes itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from stacks.gateway_responses import ANSWERS
from tests.infrastructure.synthesized import Synthesized
from tests.infrastructure.test_stages import FUNCTIONS

KEYED, SIGNED, OPEN = "CUSTOM", "AWS_IAM", "NONE"
ROUTES = {
    ("POST", "invoke"): ("Conversation", KEYED),
    ("POST", "chat"): ("Conversation", KEYED),
    ("GET", "usage"): ("Usage", KEYED),
    ("GET", "usage/history"): ("Usage", KEYED),
    ("GET", "usage/forecast"): ("Usage", KEYED),
    ("GET", "usage/recommendations"): ("Usage", KEYED),
    ("GET", "tier-info"): ("Usage", KEYED),
    ("POST", "api/byok-credentials"): ("Byok", KEYED),
    ("GET", "api/byok-credentials"): ("Byok", KEYED),
    ("DELETE", "api/byok-credentials/{provider}"): ("Byok", KEYED),
    ("GET", "subscription"): ("Billing", KEYED),
    ("POST", "subscription"): ("Billing", KEYED),
    ("DELETE", "subscription"): ("Billing", KEYED),
    ("GET", "api/billing/history"): ("Billing", KEYED),
    ("GET", "api/billing/history/{period}"): ("Billing", KEYED),
    ("GET", "budget"): ("Alerts", KEYED),
    ("PUT", "budget"): ("Alerts", KEYED),
    **{(method, "alerts/webhook"): ("Alerts", KEYED) for method in ("GET", "PUT", "DELETE")},
    ("POST", "alerts/webhook/secret"): ("Alerts", KEYED),
    ("POST", "alerts/webhook/test"): ("Alerts", KEYED),
    ("GET", "alerts/webhook/deliveries"): ("Alerts", KEYED),
    ("GET", "alerts/webhook/deliveries/{event_id}"): ("Alerts", KEYED),
    ("POST", "alerts/webhook/deliveries/{event_id}/redeliver"): ("Alerts", KEYED),
    ("GET", "alerts"): ("Alerts", KEYED),
    ("PUT", "alerts"): ("Alerts", KEYED),
    **{(method, "datavault"): ("Vault", KEYED) for method in ("GET", "POST", "PUT", "DELETE")},
    ("POST", "datavault/query"): ("Vault", KEYED),
    ("POST", "datavault/count"): ("Vault", KEYED),
    ("GET", "datavault/collections"): ("Vault", KEYED),
    ("GET", "datavault/health"): ("Vault", KEYED),
    ("GET", "pricing"): ("Public", OPEN),
    ("GET", "health"): ("Public", OPEN),
    ("GET", "openapi.json"): ("Public", OPEN),
    ("GET", "console"): ("Public", OPEN),
    ("GET", "console/{version}/{name}"): ("Public", OPEN),
    ("GET", "requests/{request_id}"): ("Conversation", KEYED),
    ("ANY", "v1/{proxy+}"): ("Conversation", KEYED),
    ("ANY", "admin/{proxy+}"): ("Admin", SIGNED),
}


def _path(synthesized: Synthesized, resource_id: Any) -> str:
    resources = synthesized.resources("AWS::ApiGateway::Resource")
    parts: list[str] = []
    while "Ref" in resource_id:
        resource = resources[resource_id["Ref"]]
        parts.insert(0, resource["PathPart"])
        resource_id = resource["ParentId"]
    return "/".join(parts)


@pytest.fixture
def methods(prod: Synthesized) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method["HttpMethod"], _path(prod, method["ResourceId"])): method
        for method in prod.resources("AWS::ApiGateway::Method").values()
    }


def test_the_api_has_its_routes_and_no_catch_all(
    methods: dict[tuple[str, str], dict[str, Any]],
) -> None:
    assert set(methods) == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_route_asks_for_its_proof_and_calls_the_alias_of_its_function(
    route: tuple[str, str], methods: dict[tuple[str, str], dict[str, Any]]
) -> None:
    function, authorization = ROUTES[route]
    method = methods[route]
    assert method["AuthorizationType"] == authorization
    assert ("AuthorizerId" in method) == (authorization == KEYED)
    assert method["Integration"]["Type"] == "AWS_PROXY"
    assert f'"Ref": "{function}Live' in json.dumps(method["Integration"]["Uri"])


def test_a_key_is_looked_up_again_after_a_minute(prod: Synthesized) -> None:
    authorizer = prod.named("AWS::ApiGateway::Authorizer", "KeyAuthorizer")
    assert authorizer["Type"] == "REQUEST"
    assert authorizer["IdentitySource"] == "method.request.header.X-API-Key"
    assert authorizer["AuthorizerResultTtlInSeconds"] == 60


def test_the_identity_behind_a_key_is_kept_by_the_one_header_that_the_authorizer_reads(
    prod: Synthesized, methods: dict[tuple[str, str], dict[str, Any]]
) -> None:
    bearer = prod.named("AWS::ApiGateway::Authorizer", "BearerAuthorizer")
    assert (bearer["Type"], bearer["AuthorizerResultTtlInSeconds"]) == ("TOKEN", 60)
    assert bearer["IdentitySource"] == "method.request.header.Authorization"
    expected = bearer["IdentityValidationExpression"]
    assert re.fullmatch(expected, "Bearer fs_abcDEF123")
    for wrong in ("fs_abc", "Bearer sk-abc", "Bearer fs_", "Basic fs_abc", "Bearer fs_a fs_b"):
        assert not re.fullmatch(expected, wrong)
    behind_bearer = {
        path
        for (_, path), method in methods.items()
        if "Bearer" in json.dumps(method.get("AuthorizerId", ""))
    }
    assert behind_bearer == {"v1/{proxy+}"}


@pytest.fixture
def responses(prod: Synthesized) -> dict[str, dict[str, Any]]:
    found = prod.resources("AWS::ApiGateway::GatewayResponse").values()
    return {response["ResponseType"]: response for response in found}


@pytest.mark.parametrize("kind", [answer.kind for answer in ANSWERS])
def test_the_gateway_s_own_errors_are_in_the_envelope(
    kind: str, responses: dict[str, dict[str, Any]]
) -> None:
    template = responses[kind]["ResponseTemplates"]["application/json"]
    rendered = template.replace("$context.requestId", "4f2b8c1e-0000-4000-8000-000000000000")
    assert "$" not in rendered, "only the request id is safe to substitute"
    envelope = json.loads(rendered)
    assert list(envelope) == ["error", "error_code", "details", "request_id"]
    assert envelope["error"].endswith(".")
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", envelope["error_code"])
    assert envelope["details"] == {}
    assert envelope["request_id"] == "4f2b8c1e-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("UNAUTHORIZED", "401", "UNAUTHORIZED"),
        ("ACCESS_DENIED", "401", "UNAUTHORIZED"),
        ("MISSING_AUTHENTICATION_TOKEN", "404", "NOT_FOUND"),
        ("REQUEST_TOO_LARGE", "413", "PAYLOAD_TOO_LARGE"),
        ("THROTTLED", "429", "RATE_LIMITED"),
        ("AUTHORIZER_FAILURE", "503", "SERVICE_UNAVAILABLE"),
        ("AUTHORIZER_CONFIGURATION_ERROR", "503", "SERVICE_UNAVAILABLE"),
        ("INTEGRATION_FAILURE", "502", "INTERNAL_ERROR"),
        ("INTEGRATION_TIMEOUT", "504", "TIMEOUT"),
    ],
)
def test_the_gateway_s_own_errors_have_the_status_clients_expect(
    kind: str, status: str, code: str, responses: dict[str, dict[str, Any]]
) -> None:
    response = responses[kind]
    assert response["StatusCode"] == status
    template = json.loads(response["ResponseTemplates"]["application/json"])
    assert template["error_code"] == code


@pytest.mark.parametrize("kind", ["DEFAULT_4XX", "DEFAULT_5XX"])
def test_an_error_that_is_not_listed_keeps_its_status(
    kind: str, responses: dict[str, dict[str, Any]]
) -> None:
    assert "StatusCode" not in responses[kind]


@pytest.mark.parametrize("kind", ["THROTTLED", "AUTHORIZER_FAILURE"])
def test_what_passes_by_itself_says_when_to_come_back(
    kind: str, responses: dict[str, dict[str, Any]]
) -> None:
    assert responses[kind]["ResponseParameters"] == {"gatewayresponse.header.Retry-After": "'1'"}


def test_no_log_of_the_gateway_holds_a_key_or_a_conversation(prod: Synthesized) -> None:
    stage = prod.named("AWS::ApiGateway::Stage", "ApiDeploymentStage")
    logged = json.loads(stage["AccessLogSetting"]["Format"])
    assert {"request_id", "extended_request_id", "status", "route", "customer_id"} <= set(logged)
    for value in logged.values():
        assert not re.search(r"header|apiKey|body|principalId|requestOverride", value), value
    (settings,) = stage["MethodSettings"]
    assert settings["DataTraceEnabled"] is False


def test_no_line_of_the_access_log_can_be_forged(prod: Synthesized) -> None:
    """Variables are put into the line as they are: what a caller writes could end its JSON."""
    stage = prod.named("AWS::ApiGateway::Stage", "ApiDeploymentStage")
    logged = json.loads(stage["AccessLogSetting"]["Format"])
    written_by_callers = re.compile(
        r"path\b|requestPath|domain|protocol|userAgent|identity\.(?!sourceIp)|error\.message"
        r"|authorizer\.error|querystring|claims|integrationErrorMessage|extendedPath"
    )
    for value in logged.values():
        assert re.fullmatch(r"\$context\.[\w.]+", value), value
        assert not written_by_callers.search(value), value


def test_the_gateway_limits_the_rate_of_requests_and_traces_them(prod: Synthesized) -> None:
    stage = prod.named("AWS::ApiGateway::Stage", "ApiDeploymentStage")
    (settings,) = stage["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert 0 < settings["ThrottlingRateLimit"] <= settings["ThrottlingBurstLimit"]
    assert stage["TracingEnabled"] is True


def test_what_is_written_is_sent_as_it_is(prod: Synthesized) -> None:
    """CSV and HTML are text: with a binary type the gateway would decode it first."""
    assert "BinaryMediaTypes" not in prod.named("AWS::ApiGateway::RestApi", "Api")


def test_the_api_is_regional(prod: Synthesized) -> None:
    api = prod.named("AWS::ApiGateway::RestApi", "Api")
    assert api["EndpointConfiguration"]["Types"] == ["REGIONAL"]


def test_outputs_tell_what_a_client_needs(prod: Synthesized) -> None:
    outputs = prod.outputs()
    parts = outputs["ApiUrl"]["Fn::Join"][1]
    assert parts[0] == "https://"
    assert parts[-1] == "/prod"
    assert outputs["Region"] == {"Ref": "AWS::Region"}
    for name in FUNCTIONS:
        assert outputs[f"{name}FunctionName"]["Ref"].startswith(f"{name}Function")


def test_answers_are_compressed_from_a_kibibyte_on(prod: Synthesized) -> None:
    [api] = prod.resources("AWS::ApiGateway::RestApi").values()
    assert api["MinimumCompressionSize"] == 1024
    assert "BinaryMediaTypes" not in api
