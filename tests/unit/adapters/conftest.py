"""Clients of AWS for tests that stub its answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@pytest.fixture
def client() -> Iterator[SQSClient]:
    """Reach nothing: what is asked of it is stubbed."""
    made = boto3.client(
        "sqs",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    yield made
    made.close()
