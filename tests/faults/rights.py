"""A customer's right to its data: exports while life goes on, and the erasure that ends it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any

from flowstack_core.adapters.dynamodb_customer_data import DynamoDBCustomerData
from flowstack_core.adapters.kinds_of_items import BOOKS, UNLISTED
from flowstack_core.adapters.s3_archives import S3Archives, archive_key
from flowstack_core.adapters.sqs_data_rights import SQSDataRightsQueue
from flowstack_core.domain.archives import MANIFEST
from flowstack_core.domain.data_rights import Export, Phase
from flowstack_core.domain.errors import AccountClosedError, NotFoundError
from flowstack_core.events.batches import LambdaFunction
from flowstack_core.events.data_rights import data_rights_steps
from flowstack_core.services.erasures import ErasureService
from flowstack_core.services.exports import ExportService
from tests.faults.consumers import Consumer
from tests.faults.plans import Plans
from tests.faults.stage import NO_ANSWER, Stage
from tests.faults.streams import Item, Place
from tests.support.archives import files_of
from tests.support.emulator import s3_client

EXPORTS, ERASURES = "export", "erasure"
QUIET = timedelta(minutes=30)
KEY_BELIEVED_FOR = timedelta(seconds=60)
KEPT = ("STATEMENT#", "STATE")

_QUEUE = "https://sqs/rights"
_STEP_SECONDS = 120.0
_STEP_ITEMS = 25
_ERASED_AT_ONCE = 20


class Rights:
    """Exports and the erasure of the customer."""

    def __init__(self, stage: Stage, plans: Plans) -> None:
        self._stage, self._plans = stage, plans
        self._bucket = f"{stage.name}-archives"
        self._plain = s3_client(stage.url)
        self._plain.create_bucket(Bucket=self._bucket)
        s3 = s3_client(stage.url)
        stage.faults.attach(s3)
        data = DynamoDBCustomerData(stage.dynamodb, stage.tables)
        archives = S3Archives(s3, self._bucket)
        queue = SQSDataRightsQueue(stage.client("sqs"), _QUEUE)
        self._exports = ExportService(
            plans.store,
            data,
            archives,
            queue,
            stage.clock,
            stage.clock,
            stage.chance("exports").randbytes,
            step_items=_STEP_ITEMS,
        )
        self._erasures = ErasureService(
            plans.accounts,
            plans.subscriptions,
            plans.closing,
            data,
            archives,
            queue,
            stage.clock,
            stage.retrier,
            quiet=QUIET,
            batch=_ERASED_AT_ONCE,
        )
        self.consumer = Consumer(stage, EXPORTS, _QUEUE, self._steps, _STEP_SECONDS)
        self._begun: list[tuple[Export, set[Place]]] = []

    def _steps(self) -> LambdaFunction:
        return data_rights_steps(lambda: self._exports, lambda: self._erasures)

    # --- what happens ------------------------------------------------------------------------

    def export(self) -> None:
        """Have the operator start an export."""
        stage = self._stage
        there = self._records()
        try:
            begun = stage.request(EXPORTS, lambda: self._exports.start("op", stage.customer_id))
        except (*NO_ANSWER, AccountClosedError, NotFoundError):
            return
        self._begun.append((begun, there))

    def work(self) -> None:
        """Deliver some messages."""
        for _ in range(self._stage.random.choice([1, 3, 8])):
            self.consumer.deliver(self._stage.random)

    def erase(self) -> None:
        """Have the operator start the erasure, again until that is done."""
        stage, customer_id = self._stage, self._stage.customer_id
        self.consumer.workflow = ERASURES
        stage.deliver(ERASURES, lambda: self._erasures.start("op", customer_id, customer_id))

    @property
    def shut_at(self) -> datetime | None:
        """From when on the customer's keys open nothing any more."""
        for change in self._stage.streams.changes("accounts", "SUBSCRIPTION"):
            if change.sort_key == "SUBSCRIPTION" and (
                change.after is None or "ended_at" in change.after
            ):
                return change.at + KEY_BELIEVED_FOR
        return None

    # --- what is left ------------------------------------------------------------------------

    def check(self) -> None:
        """Look at the archives: whole, and with everything that was there when they were begun."""
        for begun, there in self._begun:
            export = self._exports.export(begun.scope.customer_id, begun.export_id)
            assert export.ready_at is not None, "an export was left half way"
            name = archive_key(export)
            content = self._plain.get_object(Bucket=self._bucket, Key=name)["Body"].read()
            found = _read_archive(content)
            sessions = {json.loads(line)["session_id"] for line in found.get("sessions", [])}
            assert {sort_key for _, _, sort_key in there} <= sessions, "an archive is incomplete"
            assert b"sealed" not in content, "an archive holds what is sealed"

    def check_erased(self) -> None:
        """Look for anything that is left of the customer."""
        stage = self._stage
        erasure = self._erasures.erasure(stage.customer_id)
        assert erasure.phase is Phase.DONE, "an erasure was left half way"
        assert erasure.gone_by is not None
        left = [
            (table, item["pk"]["S"], item["sk"]["S"])
            for table in stage.tables
            for item in self._everything(table)
            if stage.customer_id in json.dumps(item, default=repr)
            and not self._may_stay(table, item, erasure.gone_by)
        ]
        assert not left, f"left behind: {left}"
        kept = self._plain.list_objects_v2(Bucket=self._bucket).get("Contents", [])
        uploads = self._plain.list_multipart_uploads(Bucket=self._bucket).get("Uploads", [])
        assert not kept, "an archive is left behind"
        assert not uploads, "an upload is left behind"

    def _may_stay(self, table: str, item: Item, gone_by: datetime) -> bool:
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        if any((table, pk[: len(book)]) == (where, book) for where, book in BOOKS):
            return True
        for where, partition in UNLISTED:
            if table == where and pk.startswith(partition.format(customer=self._stage.customer_id)):
                return int(item["ttl"]["N"]) <= gone_by.timestamp()
        return bool(sk.startswith(KEPT))

    def _everything(self, table: str) -> list[Item]:
        pages = self._stage.plain.get_paginator("scan").paginate(
            TableName=self._stage.tables[table], ConsistentRead=True
        )
        return [dict(item) for page in pages for item in page["Items"]]

    def _records(self) -> set[Place]:
        """Return the records of sessions that there are."""
        found: set[Place] = set()
        partition = f"RECORDS#{self._stage.customer_id}"
        for change in self._stage.streams.changes("sessions", "", partition):
            found.add(change.place)
        return found


def _read_archive(content: bytes) -> dict[str, list[bytes]]:
    """Return the lines of an archive by what they are about; its manifest must be right."""
    files = files_of(content)
    manifest: dict[str, Any] = json.loads(files.pop(MANIFEST))
    assert {file["name"] for file in manifest["files"]} == files.keys(), "the manifest is wrong"
    lines: dict[str, list[bytes]] = {}
    for file in manifest["files"]:
        written = files[file["name"]]
        assert hashlib.sha256(written).hexdigest() == file["sha256"]
        assert len(written.splitlines()) == file["records"]
        lines.setdefault(file["name"].partition("/")[0], []).extend(written.splitlines())
    assert manifest["counts"] == {name: len(rows) for name, rows in lines.items()}
    return lines
