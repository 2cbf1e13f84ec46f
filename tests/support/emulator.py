"""A MiniStack of one's own: a process on a free port of loopback, and the tables in it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
TABLES = ("accounts", "sessions", "usage", "vault")

_START_SECONDS = 60


def emulator_program() -> Path:
    """Return the emulator's executable: an environment of its own, made by the Makefile."""
    return ROOT / ".local/emulator-venv/bin/ministack"


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def emulator(directory: Path, program: Sequence[str | Path] = ()) -> Iterator[str]:
    """Run a MiniStack, or a program that is one; yield its URL."""
    port = free_port()
    environment = {
        **os.environ,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "STATE_DIR": str(directory / "state"),
        "S3_DATA_DIR": str(directory / "s3"),
        "LOG_LEVEL": "WARNING",
    }
    with (directory / "ministack.log").open("wb") as log:
        process = subprocess.Popen(
            program or [emulator_program()],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=directory,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the emulator ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError("the emulator did not start")


def aws_client(service: Any, url: str) -> Any:
    """Return a client of one of the emulator's services."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def dynamodb_client(url: str) -> DynamoDBClient:
    """Return a client as the hot path has it: without retries of its own."""
    return boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=64, read_timeout=10),
    )


def s3_client(url: str) -> S3Client:
    """Return a client that tries everything once, and makes links as AWS wants them."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
        ),
    )


def create_tables(client: DynamoDBClient, prefix: str = "") -> None:
    """Create the tables as the data stack does, as far as keys and indexes go."""
    indexes: dict[str, tuple[str, str, str]] = {
        "accounts": ("by-kind", "kind_pk", "kind_sk"),
        "sessions": ("held-sessions", "held_in", "started_at"),
    }
    for table in TABLES:
        names = ["pk", "sk"]
        more: dict[str, Any] = {}
        if table in indexes:
            index, partition, sort = indexes[table]
            names += [partition, sort]
            more["GlobalSecondaryIndexes"] = [
                {
                    "IndexName": index,
                    "KeySchema": _key(partition, sort),
                    "Projection": {"ProjectionType": "ALL"},
                }
            ]
        client.create_table(
            TableName=f"{prefix}{table}",
            KeySchema=_key("pk", "sk"),  # type: ignore[arg-type]
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in names],
            BillingMode="PAY_PER_REQUEST",
            **more,
        )


def _key(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
