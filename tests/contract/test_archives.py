"""Archives on the emulator's S3: parts, tails, links and leaving nothing behind."""

from __future__ import annotations

import urllib.request
from dataclasses import replace
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_s3 import S3Client

from flowstack_core.adapters.s3_archives import S3Archives, archive_key
from flowstack_core.domain.data_rights import Export, Scope
from flowstack_core.services.exports import SMALLEST_PART
from tests.support.emulator import s3_client
from tests.support.fakes import NOON, NOVEMBER

BUCKET = "archives"


@pytest.fixture(scope="module")
def s3(dynamodb: DynamoDBClient) -> S3Client:
    client = s3_client(dynamodb.meta.endpoint_url)
    client.create_bucket(Bucket=BUCKET)
    return client


def export(customer_id: str = "cus_1", export_id: str = "exp_1") -> Export:
    return Export(Scope(customer_id, NOVEMBER, NOVEMBER), export_id, "op", NOON)


def begun(archives: S3Archives, made: Export) -> Export:
    return replace(made, upload_id=archives.begin(made))


def test_an_archive_is_its_parts_in_order_whoever_has_the_link(s3: S3Client) -> None:
    archives = S3Archives(s3, BUCKET)
    made = begun(archives, export())
    parts = [
        archives.put_part(made, 1, b"a" * SMALLEST_PART),
        archives.put_part(made, 2, b"b"),
    ]
    archives.finish(made, parts)
    link = archives.link(made, timedelta(minutes=15))
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in link
    assert "X-Amz-Expires=900" in link
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert answer.read() == b"a" * SMALLEST_PART + b"b"


def test_a_part_that_is_stored_again_replaces_the_one_before(s3: S3Client) -> None:
    archives = S3Archives(s3, BUCKET)
    made = begun(archives, export("cus_2"))
    archives.put_part(made, 1, b"killed before it was noted")
    archives.finish(made, [archives.put_part(made, 1, b"whole")])
    stored = s3.get_object(Bucket=BUCKET, Key=archive_key(made))
    assert stored["Body"].read() == b"whole"


def test_finishing_again_changes_nothing_and_finishing_nothing_fails(s3: S3Client) -> None:
    archives = S3Archives(s3, BUCKET)
    made = begun(archives, export("cus_3"))
    parts = [archives.put_part(made, 1, b"whole")]
    archives.finish(made, parts)
    archives.finish(made, parts)
    with pytest.raises(ClientError):
        archives.finish(replace(export("cus_3", "exp_9"), upload_id="never"), parts)


def test_a_tail_is_there_for_the_next_step(s3: S3Client) -> None:
    archives = S3Archives(s3, BUCKET)
    archives.put_tail(export("cus_4"), 3, b"left")
    assert archives.tail(export("cus_4"), 3) == b"left"


def test_discarding_leaves_nothing_of_one_customer_and_all_of_the_others(s3: S3Client) -> None:
    archives = S3Archives(s3, BUCKET)
    for customer_id in ("cus_5", "cus_50"):
        finished = begun(archives, export(customer_id))
        archives.finish(finished, [archives.put_part(finished, 1, b"whole")])
        archives.put_tail(finished, 1, b"left")
        begun(archives, export(customer_id, "exp_2"))
    assert archives.discard("cus_5") == 3
    assert archives.discard("cus_5") == 0
    assert archives.discard("cus_50") == 3
