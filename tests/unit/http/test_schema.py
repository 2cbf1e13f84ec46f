"""Requests drawn from the OpenAPI document, good and bad ones, at every route.

Whatever is sent: no answer is a failure of ours, and each is one that the document describes, with
a body that keeps to its schema. See "Checks" in the documentation of Schemathesis.
"""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flowstack_openapi.document import rendered
from tests.support.whole_api import WholeApi

DOCUMENT = json.loads(rendered())
API = WholeApi()
# The phase that combines boundary values cannot fill a list of messages with roles of their own; in
# that of /invoke it gives up on a busy machine, and says that the schema is invalid.
CONFIG = schemathesis.Config.from_dict(
    {
        "operations": [
            {"include-path": path, "phases": {"coverage": {"enabled": False}}}
            for path in ("/v1/chat/completions", "/invoke")
        ]
    }
)
schema = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
schema.app = API

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schema.parametrize()
@settings(
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_every_answer_is_one_that_the_document_describes(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS)
