"""Whatever the documentation shows is run, or at least read by what would run it.

Samples of Python run here, in the order of their page, against every door of the API in this
process. Shell blocks run in ``tests/integration/test_documentation.py``, against the deployed
stack; here each of their commands is read by the program that it is for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from tests.support.aws_commands import check_aws
from tests.support.documented_commands import CHECKS, NOT_OURS, check_admin, check_make
from tests.support.mermaid import check_mermaid
from tests.support.pages import PAGES, Block, blocks, commands, commands_of, named
from tests.support.whole_api import WholeApi

KEY = "fs_canary0000000000000000000000000000000000"

ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]
CHECKED = {"bash", "http", "json", "mermaid", "python"}
"""The languages of blocks. JSON has its models in ``test_docs.py``, HTTP is a picture of both."""

every_page = pytest.mark.parametrize("page", PAGES, ids=named)


class Server(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread, so that an idle one holds up nothing."""

    daemon_threads = True
    block_on_close = False


class Silent(WSGIRequestHandler):
    """Answers, and writes no log."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it)
        """Write nothing."""


@pytest.fixture
def api() -> Iterator[str]:
    """The address of an API of its own."""
    with make_server("127.0.0.1", 0, WholeApi(), Server, Silent) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


# --- blocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=str)
def test_every_block_says_what_it_is(block: Block) -> None:
    assert block.language in CHECKED
    assert block.not_run is None or block.language in {"bash", "python"}


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.language == "json"], ids=str)
def test_every_block_of_json_can_be_read(block: Block) -> None:
    json.loads(block.code)


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.language == "mermaid"], ids=str)
def test_every_diagram_is_well_formed(block: Block) -> None:
    check_mermaid(block.code)


# --- Python -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_every_sample_of_a_page_runs(page: Path, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWSTACK_API_URL", api)
    monkeypatch.setenv("FLOWSTACK_API_KEY", KEY)
    namespace: dict[str, Any] = {"__name__": "sample", "API": api, "KEY": KEY}
    for block in blocks(page, "python"):
        code = compile("\n" * block.line + block.code, named(page), "exec")
        if block.not_run is None:
            exec(code, namespace)


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.language == "bash"], ids=str)
def test_every_program_of_a_block_is_known(block: Block) -> None:
    programs = {Path(words[0]).name for words in commands(block.code)}
    assert programs <= CHECKS.keys() | NOT_OURS


@every_page
def test_every_command_that_is_named_is_one_there_is(page: Path) -> None:
    for program, *words in commands_of(page):
        if check := CHECKS.get(Path(program).name):
            check(words)


@pytest.mark.parametrize(
    "wrong",
    [
        "sqss receive-message --queue-url URL",
        "sqs recieve-message --queue-url URL",
        "sqs receive-message --queue-url URL --wait 1",
        "sqs receive-message",
        "lambda list-functions --query Functionz[].FunctionName",
        "dynamodb update-table --table-name T --warm-throughput ReadUnits=1",
        "lambda invoke --function-name F",
    ],
)
def test_a_wrong_call_of_the_aws_command_line_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check_aws(wrong.split())


def test_a_wrong_call_of_our_own_tools_is_found() -> None:
    with pytest.raises(AssertionError):
        check_make(["deply"])
    for wrong in ("customer make", "customer show", "credit ID 1", "customer list --al"):
        with pytest.raises(Exception, match=r"No such|Missing"):
            check_admin(wrong.split())


@pytest.mark.parametrize(
    "wrong",
    [
        "flowchart LR\n a --> b[open",
        "flowchart LR\n a -->",
        "flowchart LR\n subgraph one\n a --> b",
        "flowchart XX\n a --> b",
        "sequenceDiagram\n participant A\n A->>B: hello",
        "sequenceDiagram\n participant A\n alt one\n A->>A: hello",
        'flowchart LR\n a -- "open --> b',
    ],
)
def test_a_broken_diagram_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check_mermaid(wrong)
