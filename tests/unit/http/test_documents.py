"""The documents of the API keep to their schemas, and the OpenAPI file to the routes."""

from __future__ import annotations

import json

import pytest
from openapi_spec_validator import validate

from flowstack_core.domain import errors
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.http.documents import Document, ErrorEnvelope
from flowstack_core.http.errors import STATUS, status_of
from flowstack_core.http.message_documents import AnswerDocument
from flowstack_core.http.public_documents import HealthDocument, PricingDocument
from flowstack_core.http.public_routes import public_app
from flowstack_core.http.resolver import entry_point
from flowstack_core.http.usage_documents import (
    ForecastDocument,
    RecommendationsDocument,
    TierDocument,
    UsageDocument,
    UsageHistoryDocument,
)
from flowstack_openapi.document import TARGET, rendered
from tests.support.fakes import World
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.support.whole_api import usage_app_of
from tests.unit.http.conftest import ConversationApi


def _get(world: World, path: str) -> HttpResponse:
    authorizer = {"customer_id": world.customer_id, "tier": "starter"}
    handler = entry_point(
        usage_app_of(world)
        if path.startswith(("/usage", "/tier-info"))
        else public_app(lambda: "test")
    )
    return response_of(handler(http_event("GET", path, authorizer=authorizer), LambdaContext()))


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/usage", UsageDocument),
        ("/usage/history", UsageHistoryDocument),
        ("/usage/forecast", ForecastDocument),
        ("/usage/recommendations", RecommendationsDocument),
        ("/tier-info", TierDocument),
        ("/pricing", PricingDocument),
        ("/health", HealthDocument),
    ],
)
def test_a_document_keeps_to_its_schema(path: str, document: type[Document]) -> None:
    world = World()
    world.subscribe()
    response = _get(world, path)
    assert response.status == 200
    document.model_validate(response.body)


def test_an_answer_keeps_to_its_schema(api: ConversationApi) -> None:
    for response in (api.invoke(), api.chat(), api.chat(model="claude-3-sonnet")):
        AnswerDocument.model_validate(response.body)
    assert "retired" in api.chat(model="claude-3-sonnet").body["model_notice"]


def test_a_refusal_keeps_to_its_schema(api: ConversationApi) -> None:
    ErrorEnvelope.model_validate(api.invoke(model="none").body)


def test_the_openapi_file_is_what_the_routes_say() -> None:
    assert TARGET.read_text(encoding="utf-8") == rendered()


def test_the_openapi_document_is_valid_and_served() -> None:
    served = _get(World(), "/openapi.json").body
    validate(served)
    assert served == json.loads(TARGET.read_text(encoding="utf-8"))
    assert served["paths"]["/usage"]["get"]["security"] == [{"ApiKey": []}]
    assert served["paths"]["/health"]["get"]["security"] == []


def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, FlowStackError)
    ]
    assert set(kinds) == set(STATUS)
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(400 <= status_of(kind("x")) < 600 for kind in kinds)
