"""The fault-injecting proxy: real botocore client, proxy, and a stand-in for DynamoDB."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, cast

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from tests.support.faulty_dynamodb import MODES, Faults, FaultyDynamoDB
from tests.support.local_http import LocalHandler, LocalServer


class Upstream(LocalServer):
    """Counts what takes effect, and consumes what it is told to."""

    def __init__(self) -> None:
        super().__init__(_UpstreamHandler)
        self.effects: list[tuple[str, dict[str, Any]]] = []
        self.lock = Lock()


class _UpstreamHandler(LocalHandler):
    def do_POST(self) -> None:  # noqa: N802 (the base class names it)
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        request = json.loads(self.read_body())
        upstream = cast("Upstream", self.server)
        with upstream.lock:
            upstream.effects.append((operation, request))
        answer: dict[str, Any] = {}
        if request.get("ReturnConsumedCapacity") == "TOTAL":
            each = {"TableName": "t", "CapacityUnits": 1.5}
            answer["ConsumedCapacity"] = [each, each] if "Transact" in operation else each
        body = json.dumps(answer).encode()
        self.reply(200, body, {"x-amz-crc32": str(zlib.crc32(body)), "x-upstream": "yes"})


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultyDynamoDB]:
    with FaultyDynamoDB(upstream.url) as running:
        yield running


@pytest.fixture
def client(proxy: FaultyDynamoDB) -> Iterator[Any]:
    made = boto3.client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=proxy.url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(
            retries={"total_max_attempts": 1, "mode": "standard"}, max_pool_connections=50
        ),
    )
    yield made
    made.close()


KEY = {"pk": {"S": "a"}, "sk": {"S": "b"}}


def get(client: Any) -> Any:
    return client.get_item(TableName="t", Key=KEY)


def put(client: Any) -> Any:
    return client.put_item(TableName="t", Item=KEY)


def transact(client: Any) -> Any:
    return client.transact_write_items(
        TransactItems=[{"Put": {"TableName": "t", "Item": KEY}} for _ in range(2)]
    )


def test_it_is_transparent_until_told_otherwise(
    client: Any, proxy: FaultyDynamoDB, upstream: Upstream
) -> None:
    answer = put(client)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-upstream"] == "yes"
    assert [operation for operation, _ in upstream.effects] == ["PutItem"]
    assert proxy.stats()["requests"] == {"PutItem": 1}
    assert proxy.stats()["faults"] == {}


@pytest.mark.parametrize(
    ("mode", "call", "expected"),
    [
        ("throttle", get, "ThrottlingException"),
        ("throughput", put, "ProvisionedThroughputExceededException"),
        ("conflict", put, "TransactionConflictException"),
        ("conflict", transact, "TransactionCanceledException"),
        ("internal", transact, "InternalServerError"),
    ],
)
def test_a_fault_before_the_effect_prevents_it(
    client: Any,
    proxy: FaultyDynamoDB,
    upstream: Upstream,
    mode: str,
    call: Callable[[Any], Any],
    expected: str,
) -> None:
    proxy.control(Faults(rate=1, modes=(mode,)))
    with pytest.raises(ClientError) as failure:
        call(client)
    assert failure.value.response["Error"]["Code"] == expected
    assert upstream.effects == []
    assert proxy.stats()["faults"] == {mode: 1}


def test_a_conflicting_transaction_names_a_reason_for_each_action(
    client: Any, proxy: FaultyDynamoDB
) -> None:
    proxy.control(Faults(rate=1, modes=("conflict",)))
    with pytest.raises(client.exceptions.TransactionCanceledException) as failure:
        transact(client)
    reasons = failure.value.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "TransactionConflict"]


def test_reads_do_not_conflict(client: Any, proxy: FaultyDynamoDB) -> None:
    proxy.control(Faults(rate=1, modes=("conflict",)))
    get(client)
    assert proxy.stats()["faults"] == {}


@pytest.mark.parametrize(
    ("mode", "error"),
    [("lost", HTTPClientError), ("late_error", ClientError), ("hang", HTTPClientError)],
)
def test_a_fault_after_the_effect_hides_it(
    client: Any, proxy: FaultyDynamoDB, upstream: Upstream, mode: str, error: type[Exception]
) -> None:
    proxy.control(Faults(rate=1, modes=(mode,), hang_seconds=0))
    with pytest.raises(error):
        transact(client)
    assert [operation for operation, _ in upstream.effects] == ["TransactWriteItems"]


def test_the_client_can_go_on_after_a_lost_connection(
    client: Any, proxy: FaultyDynamoDB, upstream: Upstream
) -> None:
    proxy.control(Faults(rate=1, modes=("lost",)))
    with pytest.raises(HTTPClientError):
        put(client)
    proxy.control(Faults())
    put(client)
    assert len(upstream.effects) == 2


@pytest.mark.parametrize(("down", "error"), [("close", HTTPClientError), ("503", ClientError)])
def test_when_it_is_down_no_call_comes_through_and_control_still_answers(
    client: Any, proxy: FaultyDynamoDB, upstream: Upstream, down: str, error: type[Exception]
) -> None:
    httpx.post(f"{proxy.url}/_control", json={"down": down}).raise_for_status()
    for call in (get, put, transact):
        with pytest.raises(error):
            call(client)
    assert upstream.effects == []
    httpx.post(f"{proxy.url}/_control", json={}).raise_for_status()
    put(client)
    assert len(upstream.effects) == 1


def fates(client: Any, count: int) -> list[str]:
    seen = []
    for _ in range(count):
        try:
            put(client)
        except ClientError as error:
            seen.append(error.response["Error"]["Code"])
        except HTTPClientError:
            seen.append("lost")
        else:
            seen.append("fine")
    return seen


def test_the_same_seed_gives_the_same_faults_at_about_the_rate(
    client: Any, proxy: FaultyDynamoDB
) -> None:
    proxy.control(Faults(rate=0.33, seed=1))
    first = fates(client, 90)
    proxy.control(Faults(rate=0.33, seed=1))
    assert fates(client, 90) == first
    assert 15 < 90 - first.count("fine") < 45
    assert len(set(first)) >= 5


def test_faults_can_be_narrowed_to_operations(
    client: Any, proxy: FaultyDynamoDB, upstream: Upstream
) -> None:
    settings = {"rate": 1, "modes": ["throttle"], "operations": ["GetItem"]}
    httpx.post(f"{proxy.url}/_control", json=settings).raise_for_status()
    put(client)
    with pytest.raises(ClientError, match="ThrottlingException"):
        get(client)


@pytest.mark.parametrize(
    "settings",
    [
        {"rate": 2},
        {"modes": ["typo"]},
        {"modes": []},
        {"operations": ["Putitem"]},
        {"down": "yes"},
        {"rat": 1},
    ],
)
def test_settings_that_mean_nothing_are_refused(
    proxy: FaultyDynamoDB, settings: dict[str, Any]
) -> None:
    assert httpx.post(f"{proxy.url}/_control", json=settings).status_code == 400
    assert proxy.faults == Faults()


def test_consumed_capacity_is_measured_without_the_callers_help(
    client: Any, proxy: FaultyDynamoDB
) -> None:
    put(client)
    put(client)
    transact(client)
    stats = httpx.get(f"{proxy.url}/_stats").json()
    assert stats["capacity_units"] == {"PutItem": 3.0, "TransactWriteItems": 3.0}
    httpx.delete(f"{proxy.url}/_stats")
    assert proxy.stats() == {"requests": {}, "faults": {}, "capacity_units": {}}


def test_without_metering_a_request_passes_byte_for_byte(
    client: Any, proxy: FaultyDynamoDB, upstream: Upstream
) -> None:
    proxy.control(Faults(meter=False))
    put(client)
    assert "ReturnConsumedCapacity" not in upstream.effects[0][1]


def test_200_clients_at_once_are_served_and_counted_exactly(
    client: Any, proxy: FaultyDynamoDB, upstream: Upstream
) -> None:
    proxy.control(Faults(rate=0.33, seed=7))
    with ThreadPoolExecutor(200) as pool:
        outcomes = [
            one for each in pool.map(lambda _: fates(client, 2), range(200)) for one in each
        ]
    stats = proxy.stats()
    assert stats["requests"] == {"PutItem": 400}
    assert sum(stats["faults"].values()) == 400 - outcomes.count("fine")
    before = sum(stats["faults"].get(mode, 0) for mode in MODES[:4])
    assert len(upstream.effects) == 400 - before


def test_an_upstream_that_is_gone_looks_like_a_lost_connection() -> None:
    with Upstream() as gone:
        url = gone.url
    with FaultyDynamoDB(url) as proxy:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(proxy.url, json={}, headers={"X-Amz-Target": "DynamoDB_20120810.GetItem"})
        assert proxy.stats()["faults"] == {"upstream": 1}
