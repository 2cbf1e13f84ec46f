"""Everything that is stored of a customer in DynamoDB: gone through item by item, and deleted.

A walk goes kind by kind, within a kind partition by partition, and within a partition in the order
of sort keys. A position names all three, so that a walk begins again behind any item.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_codec import (
    Item,
    contention,
    epoch_value,
    failed_condition,
    instant_value,
    number,
    put_once,
    query,
    read_count,
    read_instant,
    read_integer,
    read_optional_instant,
    string,
    transact,
)
from flowstack_core.adapters.dynamodb_talk import decode_said
from flowstack_core.adapters.kinds_of_items import KINDS, Kind
from flowstack_core.domain.data_rights import (
    ARCHIVE_LIFETIME,
    ArchiveFile,
    Erasure,
    Export,
    ExportStep,
    Part,
    Phase,
    Position,
    Scope,
)
from flowstack_core.domain.periods import Period
from flowstack_core.services.ports.data_rights import ItemPlace, Visit
from flowstack_core.services.ports.failures import StoreContentionError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Read = Callable[[str, str, str, str], Iterator[Item]]
"""Yields the items of a table's partition, from one sort key to another, both included."""

_LAST = "\U0010ffff"
"""Behind every sort key: the position at the end of a partition."""

_FIRST = "\x01"

_JSON_TEXTS = frozenset({"lines", "before", "after"})
"""Attributes that hold JSON as text."""


# --- what an archive shows -----------------------------------------------------------------


def shown(kind: Kind, item: Item, leader: Item | None) -> dict[str, Any]:
    """Return what an archive shows of an item."""
    row: dict[str, Any] = {}
    if kind.leader_as is not None and leader is not None:
        row[kind.leader_as] = leader["sk"]["S"]
    if kind.sort_key_as is not None:
        row[kind.sort_key_as] = item["sk"]["S"]
    for name in kind.shown:
        if name in item:
            value = _plain(item[name])
            row[name] = json.loads(value) if name in _JSON_TEXTS else value
    if kind.said_as is not None:
        row[kind.said_as] = [
            {**asdict(route), **asdict(talk)} for route, talk in decode_said(item).items()
        ]
    return row


def _plain(value: Mapping[str, Any]) -> Any:
    ((notation, content),) = value.items()
    match notation:
        case "N":
            found = Decimal(content)
            return int(found) if found == found.to_integral_value() else float(found)
        case "M":
            return {name: _plain(inner) for name, inner in content.items()}
        case "L":
            return [_plain(inner) for inner in content]
        case "SS":
            return sorted(content)
        case "B":
            return json.loads(zlib.decompress(content))
        case _:
            return content


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(len(name) + _size(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 1


# --- the walk ------------------------------------------------------------------------------


class Walk:
    """Goes through what is stored of one customer.

    Parameters
    ----------
    read
        Yields the items of a partition from one sort key to another, both included.
    """

    def __init__(self, scope: Scope, read: Read) -> None:
        self._scope = scope
        self._read = read

    def visits(self, after: Position) -> Iterator[Visit]:
        """Yield every item behind a position; the end of a partition is a visit without one."""
        names = [kind.name for kind in KINDS]
        first = names.index(after[0]) if after else 0
        for kind in KINDS[first:]:
            since = after[1:] if after and kind.name == after[0] else ()
            for way, leader, pk in self._partitions(kind, since[:-1]):
                begins = since[-1] if since and way == since[:-1] else None
                yield from self._in_partition(kind, way, leader, pk, begins)

    def _in_partition(
        self, kind: Kind, way: Position, leader: Item | None, pk: str, begins: str | None
    ) -> Iterator[Visit]:
        for item in self._read(kind.table, pk, begins or kind.sort or _FIRST, kind.sort + _LAST):
            sk = item["sk"]["S"]
            if sk == begins or self._of_another(kind, item, leader):
                continue
            yield Visit(
                kind=kind.name,
                position=(kind.name, *way, sk),
                place=ItemPlace(kind.table, pk, sk),
                file=kind.file,
                row=shown(kind, item, leader),
                kept=kind.kept,
                size=_size(item),
            )
        if begins != kind.sort + _LAST:
            yield Visit(kind=kind.name, position=(kind.name, *way, kind.sort + _LAST))

    def _of_another(self, kind: Kind, item: Item, leader: Item | None) -> bool:
        """Whether an item that was led to is not what its leader meant, or another customer's."""
        if kind.session_of_leader and not _same_session(item, leader):
            return True
        own = string(self._scope.customer_id)
        return bool(item.get("customer_id", own) != own)

    def _partitions(
        self, kind: Kind, since: Position
    ) -> Iterator[tuple[Position, Item | None, str]]:
        """Yield the partitions of a kind, from one on: the way there, its leader, its key."""
        customer_id = self._scope.customer_id
        if kind.leader is not None:
            leading = next(one for one in KINDS if one.name == kind.leader)
            for way, item in self._leaders(leading, since):
                if all(name in item for name in _led_by(kind)):
                    yield way, item, kind.partition_of(customer_id, leader=item)
        elif "{period}" in kind.partition:
            for period in self._scope.periods():
                if (period.name,) >= since:
                    yield (period.name,), None, kind.partition_of(customer_id, period.name)
        else:
            yield (), None, kind.partition_of(customer_id)

    def _leaders(self, kind: Kind, since: Position) -> Iterator[tuple[Position, Item]]:
        for way, _, pk in self._partitions(kind, since[:-1]):
            begins = since[-1] if since and way == since[:-1] else kind.sort or _FIRST
            for item in self._read(kind.table, pk, begins, kind.sort + _LAST):
                yield (*way, item["sk"]["S"]), item


def _led_by(kind: Kind) -> Sequence[str]:
    names = ("sk", "agent", "conversation_id", "digest")
    return [name for name in names if f"{{{name}}}" in kind.partition]


def _same_session(item: Item, leader: Item | None) -> bool:
    return leader is not None and item["session_id"] == leader["sk"]


# --- items ---------------------------------------------------------------------------------


def erasure_key(customer_id: str) -> dict[str, Any]:
    """Return the key of an erasure; the item stays as the record that it was done."""
    return {"pk": string(f"ERASURE#{customer_id}"), "sk": string("STATE")}


def export_key(customer_id: str, export_id: str) -> dict[str, Any]:
    """Return the key of an export."""
    return {"pk": string(f"EXPORTS#{customer_id}"), "sk": string(export_id)}


def step_key(customer_id: str, export_id: str, number_: int) -> dict[str, Any]:
    """Return the key of what a step of an export added; the steps of an export sort as done."""
    return {
        "pk": string(f"EXPORTS#{customer_id}"),
        "sk": string(f"{export_id}#STEP#{number_:06d}"),
    }


def _encode_scope(scope: Scope) -> dict[str, Any]:
    return {
        "customer_id": string(scope.customer_id),
        "first": string(scope.first.name),
        "last": string(scope.last.name),
    }


def _decode_scope(item: Item) -> Scope:
    return Scope(
        item["customer_id"]["S"],
        Period.parse(item["first"]["S"]),
        Period.parse(item["last"]["S"]),
    )


def _encode_counts(counts: Mapping[str, int]) -> dict[str, Any]:
    return {"M": {name: number(count) for name, count in counts.items()}}


def _decode_counts(item: Item) -> dict[str, int]:
    return {name: int(count["N"]) for name, count in item["counts"]["M"].items()}


def _encode_position(position: Position) -> dict[str, Any]:
    return {"L": [string(part) for part in position]}


def _decode_position(item: Item) -> Position:
    return tuple(part["S"] for part in item["position"]["L"])


def _instants(**instants: datetime | None) -> dict[str, Any]:
    return {name: instant_value(at) for name, at in instants.items() if at is not None}


def encode_erasure(erasure: Erasure) -> dict[str, Any]:
    """Write an erasure."""
    return {
        **erasure_key(erasure.scope.customer_id),
        **_encode_scope(erasure.scope),
        "actor": string(erasure.actor),
        "phase": string(erasure.phase.value),
        "step": number(erasure.step),
        "runs": number(erasure.runs),
        "position": _encode_position(erasure.position),
        "passes": number(erasure.passes),
        "found": number(erasure.found),
        "counts": _encode_counts(erasure.counts),
        **_instants(
            asked_at=erasure.asked_at,
            not_before=erasure.not_before,
            stopped_at=erasure.stopped_at,
            gone_by=erasure.gone_by,
            finished_at=erasure.finished_at,
        ),
    }


def decode_erasure(item: Item) -> Erasure:
    """Read an erasure."""
    return Erasure(
        scope=_decode_scope(item),
        actor=item["actor"]["S"],
        asked_at=read_instant(item, "asked_at"),
        phase=Phase(item["phase"]["S"]),
        step=read_integer(item, "step"),
        runs=read_count(item, "runs"),
        not_before=read_optional_instant(item, "not_before"),
        position=_decode_position(item),
        passes=read_integer(item, "passes"),
        found=read_integer(item, "found"),
        counts=_decode_counts(item),
        stopped_at=read_optional_instant(item, "stopped_at"),
        gone_by=read_optional_instant(item, "gone_by"),
        finished_at=read_optional_instant(item, "finished_at"),
    )


def encode_export(export: Export) -> dict[str, Any]:
    """Write an export; it is forgotten a day after its archive."""
    item = {
        **export_key(export.scope.customer_id, export.export_id),
        **_encode_scope(export.scope),
        "export_id": string(export.export_id),
        "actor": string(export.actor),
        "step": number(export.step),
        "position": _encode_position(export.position),
        "upload_id": string(export.upload_id),
        "parts": number(export.parts),
        "counts": _encode_counts(export.counts),
        "ttl": epoch_value((export.ready_at or export.asked_at) + 2 * ARCHIVE_LIFETIME),
        **_instants(
            asked_at=export.asked_at,
            run_until=export.run_until,
            written_at=export.written_at,
            ready_at=export.ready_at,
        ),
    }
    return item if export.tail is None else {**item, "tail": number(export.tail)}


def decode_export(item: Item) -> Export:
    """Read an export."""
    return Export(
        scope=_decode_scope(item),
        export_id=item["export_id"]["S"],
        actor=item["actor"]["S"],
        asked_at=read_instant(item, "asked_at"),
        step=read_integer(item, "step"),
        position=_decode_position(item),
        upload_id=item["upload_id"]["S"],
        parts=read_integer(item, "parts"),
        tail=read_integer(item, "tail") if "tail" in item else None,
        counts=_decode_counts(item),
        run_until=read_optional_instant(item, "run_until"),
        written_at=read_optional_instant(item, "written_at"),
        ready_at=read_optional_instant(item, "ready_at"),
    )


def encode_step(export: Export, step: ExportStep) -> dict[str, Any]:
    """Write what a step added."""
    item = {
        **step_key(export.scope.customer_id, export.export_id, step.number),
        "number": number(step.number),
        "files": string(json.dumps([asdict(file) for file in step.files])),
        "ttl": epoch_value(export.asked_at + 2 * ARCHIVE_LIFETIME),
    }
    if step.part is not None:
        item["part"] = string(json.dumps(asdict(step.part)))
    return item


def decode_step(item: Item) -> ExportStep:
    """Read what a step added."""
    return ExportStep(
        number=read_integer(item, "number"),
        files=tuple(ArchiveFile(**file) for file in json.loads(item["files"]["S"])),
        part=Part(**json.loads(item["part"]["S"])) if "part" in item else None,
    )


# --- requests ------------------------------------------------------------------------------


def replace_at_step(table: str, item: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Move an export or an erasure on, if nobody did the step before."""
    return {
        "Put": {
            "TableName": table,
            "Item": dict(item),
            "ConditionExpression": "step = :step",
            "ExpressionAttributeValues": {":step": number(step)},
        }
    }


def take_step(table: str, export: Export, until: datetime, now: datetime) -> dict[str, Any]:
    """Begin a step that nobody has done and nobody can be doing."""
    return {
        "TableName": table,
        "Key": export_key(export.scope.customer_id, export.export_id),
        "UpdateExpression": "SET run_until = :until",
        "ConditionExpression": (
            "step = :step AND (attribute_not_exists(run_until) OR run_until <= :now)"
        ),
        "ExpressionAttributeValues": {
            ":step": number(export.step),
            ":until": instant_value(until),
            ":now": instant_value(now),
        },
    }


def delete_item(table: str, place: ItemPlace) -> dict[str, Any]:
    """Delete an item that is there: each is counted once."""
    return {
        "Delete": {
            "TableName": table,
            "Key": {"pk": string(place.pk), "sk": string(place.sk)},
            "ConditionExpression": "attribute_exists(pk)",
        }
    }


# --- the stores ----------------------------------------------------------------------------


class DynamoDBCustomerData:
    """`flowstack_core.services.ports.data_rights.CustomerData` on DynamoDB.

    Parameters
    ----------
    tables
        The name of each table, by what it holds.
    """

    def __init__(self, client: DynamoDBClient, tables: Mapping[str, str]) -> None:
        self._client = client
        self._tables = tables
        self._accounts = tables["accounts"]

    def walk(self, scope: Scope, after: Position) -> Iterator[Visit]:
        """Yield everything that is stored of the customer, behind a position."""
        return Walk(scope, self._read).visits(after)

    def _read(self, table: str, pk: str, first: str, last: str) -> Iterator[Item]:
        return query(
            self._client,
            TableName=self._tables[table],
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": string(pk),
                ":first": string(first),
                ":last": string(last),
            },
            ConsistentRead=True,
        )

    def erasure(self, customer_id: str) -> Erasure | None:
        """Return a customer's erasure, read consistently."""
        item = self._get(erasure_key(customer_id))
        return None if item is None else decode_erasure(item)

    def begin_erasure(self, erasure: Erasure) -> bool:
        """Add an erasure; ``False`` if the customer has one."""
        return transact(self._client, put_once(self._accounts, encode_erasure(erasure))) is None

    def advance_erasure(self, before: Erasure, after: Erasure, places: Sequence[ItemPlace]) -> bool:
        """Delete items and move the erasure on, all or nothing."""
        moved = replace_at_step(self._accounts, encode_erasure(after), before.step)
        deleted = [delete_item(self._tables[place.table], place) for place in places]
        failed = transact(self._client, moved, *deleted, proof=0)
        if failed is not None and failed[0] is None:
            raise StoreContentionError("an item expired meanwhile")
        return failed is None

    def export(self, customer_id: str, export_id: str) -> Export | None:
        """Return an export, read consistently."""
        item = self._get(export_key(customer_id, export_id))
        return None if item is None else decode_export(item)

    def begin_export(self, export: Export) -> bool:
        """Add an export; ``False`` if there is one of that id."""
        return transact(self._client, put_once(self._accounts, encode_export(export))) is None

    def take_export_step(self, export: Export, until: datetime, now: datetime) -> bool:
        """Begin a step; ``False`` if it was done, or may be running."""
        try:
            with contention():
                self._client.update_item(**take_step(self._accounts, export, until, now))
        except ClientError as error:
            if failed_condition(error) is None:
                raise
            return False
        return True

    def advance_export(self, before: Export, after: Export, step: ExportStep) -> bool:
        """Note what a step added and move the export on, all or nothing."""
        moved = replace_at_step(self._accounts, encode_export(after), before.step)
        added = put_once(self._accounts, encode_step(after, step))
        return transact(self._client, moved, added, proof=0) is None

    def export_steps(self, export: Export) -> Sequence[ExportStep]:
        """Return what the steps of an export added, in their order."""
        prefix = f"{export.export_id}#STEP#"
        partition = f"EXPORTS#{export.scope.customer_id}"
        items = self._read("accounts", partition, prefix, prefix + _LAST)
        return [decode_step(item) for item in items]

    def _get(self, key: dict[str, Any]) -> Item | None:
        with contention():
            found = self._client.get_item(TableName=self._accounts, Key=key, ConsistentRead=True)
        return found.get("Item")
