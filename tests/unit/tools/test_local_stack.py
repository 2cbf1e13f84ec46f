"""The parts of the local stack that decide something."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from local_stack import demo, deployed, environment
from local_stack.cdk import stack_names
from local_stack.connection import Connection
from local_stack.deployed import Resource
from local_stack.failure import LocalStackError
from local_stack.files import exclusive, is_locked, try_lock, write_whole
from local_stack.layout import Layout
from local_stack.ports import LOOPBACK, NoFreePortError, first_free, is_free

CONNECTION = Connection(
    api_url="http://127.0.0.1:4566/_aws/execute-api/a1b2c3d4/v1",
    region="us-east-1",
    endpoint_url="http://127.0.0.1:4566",
    stage="local",
    tables={"sessions": "sessions-1"},
    functions={"conversation": "conversation-1"},
)
HOLD_LOCK = """
import sys
from pathlib import Path
from local_stack.files import try_lock
lock = try_lock(Path(sys.argv[1]))
print("held" if lock else "refused", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(project=tmp_path, directory=tmp_path / ".local")


# --- ports ---------------------------------------------------------------------------------


def test_the_wanted_port_is_taken_when_it_is_free() -> None:
    assert first_free(4566, free=lambda _port: True) == 4566


def test_a_busy_port_is_passed_over_for_the_next_free_one() -> None:
    assert first_free(4566, free=lambda port: port > 4567) == 4568


def test_no_free_port_is_an_error_that_names_the_range() -> None:
    with pytest.raises(NoFreePortError, match="4566 to 4665"):
        first_free(4566, free=lambda _port: False)


def test_a_port_that_a_program_listens_on_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        assert not is_free(server.getsockname()[1])


# --- files and locks -----------------------------------------------------------------------


def test_a_file_is_written_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "stack.json"

    write_whole(path, "one")
    write_whole(path, "two")

    assert path.read_text(encoding="utf-8") == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_lock_that_nobody_holds_is_free_though_its_file_is_there(tmp_path: Path) -> None:
    lock = tmp_path / "emulator.lock"
    assert not is_locked(lock)
    lock.touch()
    assert not is_locked(lock)


def test_a_lock_is_free_again_once_its_process_was_killed(tmp_path: Path) -> None:
    lock = tmp_path / "emulator.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(demo.__file__).parents[1])},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_locked(lock)
        assert try_lock(lock) is None
        holder.kill()
        holder.wait()
    assert not is_locked(lock)


def test_two_commands_do_not_work_on_one_folder_at_once(tmp_path: Path) -> None:
    lock, refusal = tmp_path / "command.lock", LocalStackError("busy")
    with (
        exclusive(lock, refusal),
        pytest.raises(LocalStackError, match="busy"),
        exclusive(lock, refusal),
    ):
        pytest.fail("both got the lock")
    with exclusive(lock, refusal):
        assert is_locked(lock)


# --- environments --------------------------------------------------------------------------

CALLER = {
    "PATH": "/usr/bin",
    "HOME": "/home/somebody",
    "AWS_PROFILE": "production",
    "AWS_ENDPOINT_URL_S3": "https://elsewhere.example",
    "AWS_SESSION_TOKEN": "a real one",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "PYTHONPATH": "/somewhere",
}


def test_a_callers_aws_account_never_reaches_the_deployment(layout: Layout) -> None:
    seen = environment.for_cdk(CALLER, layout, endpoint_url="http://127.0.0.1:4566")

    assert seen["PATH"] == "/usr/bin"
    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert seen["AWS_ACCESS_KEY_ID"] == seen["AWS_SECRET_ACCESS_KEY"] == "test"
    assert seen["AWS_CONFIG_FILE"] == seen["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert not seen.keys() & {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"}


def test_bundling_reaches_the_world_as_the_caller_does_and_the_emulator_directly(
    layout: Layout,
) -> None:
    seen = environment.for_cdk(CALLER, layout, endpoint_url="http://127.0.0.1:4566")
    assert seen["HTTPS_PROXY"] == CALLER["HTTPS_PROXY"]
    assert seen["NO_PROXY"] == seen["no_proxy"] == "127.0.0.1"
    assert "PYTHONPATH" not in seen


def test_the_cdk_command_line_does_not_call_home(layout: Layout) -> None:
    seen = environment.for_cdk(CALLER, layout, endpoint_url="http://127.0.0.1:4566")
    assert seen["CDK_DISABLE_CLI_TELEMETRY"] == "true"
    assert Path(seen["CDK_HOME"]).is_relative_to(layout.directory)


def test_the_emulator_listens_on_the_loopback_only_and_writes_into_its_folder(
    layout: Layout,
) -> None:
    settings = environment.emulator_settings(CALLER)
    seen = environment.for_emulator(CALLER, layout, port=4711, settings=settings)

    assert seen["BIND_HOST"] == "127.0.0.1"
    assert seen["GATEWAY_PORT"] == "4711"
    for name in ("TMPDIR", "STATE_DIR", "S3_DATA_DIR"):
        assert Path(seen[name]).is_relative_to(layout.directory)
    assert not seen.keys() & {"AWS_PROFILE", "HTTPS_PROXY", "PYTHONPATH"}


def test_a_model_server_of_the_caller_is_passed_on_and_tells_emulators_apart() -> None:
    real = environment.emulator_settings({"MINISTACK_BEDROCK_PROXY_URL": "http://127.0.0.1:11434"})
    assert real["MINISTACK_BEDROCK_PROXY_URL"] == "http://127.0.0.1:11434"
    assert real != environment.emulator_settings({})


# --- what was deployed ---------------------------------------------------------------------


def resource(logical_id: str, kind: str, physical_id: str, **properties: object) -> Resource:
    return Resource(logical_id, kind, physical_id, dict(properties))


def test_names_are_found_by_role_whatever_the_deployment_called_them() -> None:
    resources = [
        resource("SessionsTable7C30", "AWS::DynamoDB::GlobalTable", "data-sessions-94D2"),
        resource("UsageTable11AA", "AWS::DynamoDB::GlobalTable", "data-usage-1F00"),
        resource("UsageFunction22BB", "AWS::Lambda::Function", "api-usage-77"),
    ]
    tables = deployed.by_role(resources, deployed.TABLE_TYPES, ("sessions", "usage"))
    functions = deployed.by_role(resources, ("AWS::Lambda::Function",), ("usage",))

    assert tables == {"sessions": "data-sessions-94D2", "usage": "data-usage-1F00"}
    assert functions == {"usage": "api-usage-77"}


def test_the_api_is_found_by_its_id_and_stage() -> None:
    resources = [
        resource("Api1", "AWS::ApiGateway::RestApi", "a1b2c3d4"),
        resource("ApiStage2", "AWS::ApiGateway::Stage", "v1", StageName="v1"),
    ]
    assert deployed.api_path(resources) == ("a1b2c3d4", "v1")


def test_items_expire_in_just_the_tables_whose_template_says_so() -> None:
    expiry = {"AttributeName": "ttl", "Enabled": True}
    resources = [
        resource("S", "AWS::DynamoDB::Table", "sessions-1", TimeToLiveSpecification=expiry),
        resource("V", "AWS::DynamoDB::Table", "vault-1"),
    ]
    assert deployed.expiring_tables(resources) == {"sessions-1": "ttl"}


def test_the_stacks_of_an_assembly_are_listed_by_their_names(tmp_path: Path) -> None:
    stack = "aws:cloudformation:stack"
    artifacts = {
        "data": {"type": stack, "properties": {"stackName": "flowstack-local-data"}},
        "data.assets": {"type": "cdk:asset-manifest"},
        "flowstack-local-api": {"type": stack},
    }
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"artifacts": artifacts}), encoding="utf-8")

    assert stack_names(tmp_path) == ["flowstack-local-data", "flowstack-local-api"]


# --- the connection file -------------------------------------------------------------------


def test_a_connection_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    CONNECTION.write(path)
    assert Connection.read(path) == CONNECTION
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_connection_is_read_where_no_stack_wrote_one(tmp_path: Path) -> None:
    assert Connection.read(tmp_path / "stack.json") is None


def test_https_is_preferred_where_the_stack_has_a_certificate() -> None:
    secure = CONNECTION.model_copy(update={"https_api_url": "https://127.0.0.1:4567/v1"})
    assert secure.preferred_url == "https://127.0.0.1:4567/v1"
    assert CONNECTION.preferred_url == CONNECTION.api_url


# --- the demo ------------------------------------------------------------------------------


def client_of(handler: httpx.MockTransport) -> demo.DemoClient:
    return demo.DemoClient(httpx.Client(base_url=CONNECTION.api_url, transport=handler))


def test_the_demo_asks_its_questions_in_one_conversation_through_the_stage_path() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"content": f"answer {len(seen)}"})

    exchanges = list(client_of(httpx.MockTransport(answer)).converse("demo-1"))

    bodies = [json.loads(request.content) for request in seen]
    assert [exchange.answer["content"] for exchange in exchanges] == [
        "answer 1",
        "answer 2",
        "answer 3",
    ]
    assert {request.url.path for request in seen} == {"/_aws/execute-api/a1b2c3d4/v1/chat"}
    assert {body["conversation_id"] for body in bodies} == {"demo-1"}
    assert [body["message"] for body in bodies] == list(demo.QUESTIONS)


def test_a_refused_demo_message_is_reported_with_the_apis_own_words() -> None:
    refusal = httpx.MockTransport(lambda _request: httpx.Response(429, text="quota used up"))
    with pytest.raises(LocalStackError, match="429: quota used up"):
        list(client_of(refusal).converse("demo-1"))


def test_a_key_that_the_api_refuses_does_not_work() -> None:
    assert not client_of(httpx.MockTransport(lambda _request: httpx.Response(401))).key_works()


def test_the_curl_lines_survive_a_shell_and_name_the_same_conversation() -> None:
    connection = CONNECTION.model_copy(
        update={"api_key": "fs_key", "ca_file": "/a folder/certificate.pem"}
    )
    chat, invoke, usage = demo.curl_lines(connection, "demo-1")

    echoed = [
        subprocess.run(
            ["/bin/sh", "-c", line.replace("curl ", "printf '%s\\n' ", 1)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        for line in (chat, invoke, usage)
    ]
    for arguments in echoed:
        assert arguments[arguments.index("--cacert") + 1] == "/a folder/certificate.pem"
        assert "X-API-Key: fs_key" in arguments
    assert json.loads(echoed[0][echoed[0].index("-d") + 1])["conversation_id"] == "demo-1"
    assert [arguments[-1] for arguments in echoed] == [
        f"{CONNECTION.api_url}/{path}" for path in ("chat", "invoke", "usage")
    ]
