"""Everything that a deployed stack leaves behind, as bytes to search."""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from local_stack.connection import Connection
from tests.support.emulator import aws_client


class Traces:
    """What the stack stored, streamed and printed, read past FlowStack's own code."""

    def __init__(self, connection: Connection, emulator_log: Path) -> None:
        self._connection = connection
        self._emulator_log = emulator_log

    def stored(self) -> Iterator[bytes]:
        """Yield every item of every table, with what its compressed attributes hold."""
        dynamodb = self._client("dynamodb")
        for table in self._connection.tables.values():
            for page in dynamodb.get_paginator("scan").paginate(TableName=table):
                for item in page["Items"]:
                    yield from _flat(item)

    def streamed(self) -> Iterator[bytes]:
        """Yield every record of every stream of the tables."""
        streams = self._client("dynamodbstreams")
        for stream in streams.list_streams()["Streams"]:
            for record in streamed_records(streams, stream["StreamArn"]):
                yield from _flat(record)

    def queued(self) -> Iterator[bytes]:
        """Yield what waits in queues, dead letters among it, without taking it away."""
        sqs = self._client("sqs")
        for url in sqs.list_queues().get("QueueUrls", []):
            page = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
            for message in page.get("Messages", []):
                yield message["Body"].encode()

    def archived(self) -> Iterator[bytes]:
        """Yield every object that FlowStack stored, unpacked."""
        s3 = self._client("s3")
        for bucket in s3.list_buckets()["Buckets"]:
            if bucket["Name"].startswith("cdk-"):
                continue
            for found in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
                raw = s3.get_object(Bucket=bucket["Name"], Key=found["Key"])["Body"].read()
                yield found["Key"].encode()
                yield raw
                # A tail is a part of a stream: what of it cannot be read by itself is in the whole.
                with suppress(EOFError, OSError, zlib.error):
                    yield gzip.decompress(raw)

    def logged(self) -> Iterator[bytes]:
        """Yield the lines of the functions' logs."""
        logs = self._client("logs")
        for function in self._connection.functions.values():
            for page in logs.get_paginator("filter_log_events").paginate(
                logGroupName=f"/aws/lambda/{function}"
            ):
                for event in page["events"]:
                    yield event["message"].encode()

    def emulated(self) -> Iterator[bytes]:
        """Yield the log of the emulator itself."""
        yield self._emulator_log.read_bytes()

    def _client(self, service: Any) -> Any:
        return aws_client(service, self._connection.endpoint_url)


def streamed_records(streams: Any, arn: str) -> Iterator[Any]:
    """Yield the records of a stream, from its first on."""
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator is not None:
            page = streams.get_records(ShardIterator=iterator)
            yield from page["Records"]
            iterator = page.get("NextShardIterator") if page["Records"] else None


def spellings(secret: str) -> set[bytes]:
    """Return the secret as it may be written: plain, escaped, in base64 and so on."""
    plain = secret.encode()
    # Base64 of what surrounds it changes with its offset: all three, without their ragged ends.
    shifted = (b64encode(b"\0" * offset + plain)[4:-4] for offset in range(3))
    return {
        plain,
        json.dumps(secret)[1:-1].encode(),
        quote(secret, safe="").encode(),
        plain.hex().encode(),
        *shifted,
    }


def _flat(value: Any) -> Iterator[bytes]:
    """Yield the texts and bytes in a value, whatever they are compressed or encoded with."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield str(name).encode()
            yield from _flat(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _flat(inner)
    else:
        raw = value if isinstance(value, bytes) else str(value).encode()
        yield raw
        with suppress(zlib.error):
            yield zlib.decompress(raw)
        with suppress(NotBase64, ValueError, zlib.error):
            yield zlib.decompress(b64decode(raw, validate=True))


# FIX
