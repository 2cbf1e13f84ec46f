"""What starting the conversation function makes ready, and what it leaves for later."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from flowstack_core.cold_start import all_kept
from tests.support.converse_server import ConverseServer
from tests.support.emulator import ROOT

_LATER = """
import sys
import handler
ours = {name.removeprefix("flowstack_core.") for name in sys.modules}
later = {
    *("http.openai_routes", "http.openai_messages", "services.deferred", "domain.deferred"),
    *("http.usage_documents", "http.vault_documents", "domain.vault", "domain.webhooks"),
    *("domain.margin", "domain.month_end", "domain.payments", "domain.data_rights"),
    *("domain.statements", "domain.api_keys", "domain.alerts"),
}
assert not later & ours, later & ours
"""

_SNAPSHOT = """
import sys
import handler
assert handler._openai.cache_info().currsize == 1
assert handler.bootstrap.deferred_requests.cache_info().currsize == 1
"""

_KEPT = """
import gc
import handler
assert gc.isenabled()
assert gc.get_freeze_count() > 10_000
"""

_ONE_SESSION = """
from datetime import date
import boto3
made = []
class Session(boto3.Session):
    def __init__(self):
        made.append(self)
        super().__init__()
boto3.Session = boto3.session.Session = Session
import handler
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.domain.messages import Message, ModelRequest, TextBlock
from flowstack_core.domain.providers import Provider

models = handler.bootstrap.conversation_service()._model_clients
model = default_catalogue().resolve("claude-haiku-4-5", "us-east-1", date(2026, 11, 24))
said = (Message("user", (TextBlock("Hi"),)),)
request = ModelRequest(model, said, None, (), None, 100, 20.0)
models.client(Provider.BEDROCK, None).converse(request)
assert len(made) == 1
"""


def _start(code: str, **environment: str) -> None:
    """Run code in a fresh process that has the function as Lambda has it."""
    path = ":".join(str(ROOT / each) for each in ("layers/core", "functions/conversation"))
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={
            "PYTHONPATH": path,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "FLOWSTACK_STAGE": "prod",
            "DEFERRED_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/queue",
            **environment,
        },
    )


@pytest.mark.parametrize("environment", [{}, {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}])
def test_what_few_requests_need_is_not_loaded_at_the_start(environment: dict[str, str]) -> None:
    _start(_LATER, **environment)


def test_a_snapshot_holds_what_few_requests_need_too() -> None:
    _start(_SNAPSHOT, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")


def test_what_was_loaded_is_no_longer_searched_for_garbage_and_all_else_is() -> None:
    _start(_KEPT)


def test_all_clients_of_the_execution_role_share_one_session() -> None:
    with ConverseServer() as bedrock:
        _start(_ONE_SESSION, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=bedrock.url)
        assert len(bedrock.calls()) == 1


def _failing_start() -> None:
    with all_kept():
        assert not gc.isenabled()
        raise ImportError


def test_garbage_is_looked_for_again_even_where_a_start_fails() -> None:
    try:
        with pytest.raises(ImportError):
            _failing_start()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
