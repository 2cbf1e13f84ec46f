"""The runs of the month end and their pages in DynamoDB, in the table of usage.

Whatever is noted on a page is noted by name: a customer leaves the set of the open ones, or is put
among the failed. Doing that twice leaves what doing it once leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
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
    read_instant,
    read_integer,
    read_optional_instant,
    string,
    transact,
)
from flowstack_core.domain.month_end import ClosePage, MonthEndRun, PageState
from flowstack_core.domain.periods import Period

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_RETENTION = timedelta(days=400)
"""How long after its period a run can be looked at."""

_PAGE_DIGITS = 8


def run_key(period: Period) -> dict[str, Any]:
    """Return the key of a run; all runs stand together, sorted by period."""
    return {"pk": string("MONTH_ENDS"), "sk": string(period.name)}


def page_key(period: Period, number_: int) -> dict[str, Any]:
    """Return the key of a page; the pages of a run stand together, sorted by number."""
    return {"pk": string(f"MONTH_END#{period.name}"), "sk": string(_page_sort_key(number_))}


def _page_sort_key(number_: int) -> str:
    return f"PAGE#{number_:0{_PAGE_DIGITS}d}"


def encode_run(run: MonthEndRun) -> dict[str, Any]:
    """Write a run."""
    item = {
        **run_key(run.period),
        "period": string(run.period.name),
        "started_at": instant_value(run.started_at),
        "moved_at": instant_value(run.moved_at),
        "step": number(run.step),
        "customers": number(run.customers),
        "ttl": epoch_value(run.period.end + _RETENTION),
    }
    if run.cursor is not None:
        item["cursor"] = string(run.cursor)
    if run.listed_at is not None:
        item["listed_at"] = instant_value(run.listed_at)
    if run.finished_at is not None:
        item["finished_at"] = instant_value(run.finished_at)
    return item


def decode_run(item: Item) -> MonthEndRun:
    """Read a run."""
    return MonthEndRun(
        period=Period.parse(item["period"]["S"]),
        started_at=read_instant(item, "started_at"),
        moved_at=read_instant(item, "moved_at"),
        step=read_integer(item, "step"),
        cursor=item["cursor"]["S"] if "cursor" in item else None,
        customers=read_integer(item, "customers"),
        listed_at=read_optional_instant(item, "listed_at"),
        finished_at=read_optional_instant(item, "finished_at"),
    )


def encode_page(page: ClosePage, at: datetime) -> dict[str, Any]:
    """Write a page of which everybody is open."""
    return {
        **page_key(page.period, page.number),
        "number": number(page.number),
        "size": number(len(page.customer_ids)),
        "open_ids": {"SS": list(page.customer_ids)},
        "failed": {"M": {}},
        "touched_at": instant_value(at),
        "ttl": epoch_value(page.period.end + _RETENTION),
    }


def decode_page(item: Item) -> PageState:
    """Read a page. A set that nobody is left in is not there at all."""
    return PageState(
        number=read_integer(item, "number"),
        size=read_integer(item, "size"),
        open_ids=frozenset(item["open_ids"]["SS"] if "open_ids" in item else ()),
        touched_at=read_instant(item, "touched_at"),
        failed={who: why["S"] for who, why in item["failed"]["M"].items()},
    )


def move_run(table: str, before: MonthEndRun, after: MonthEndRun) -> dict[str, Any]:
    """Move a run on, if nobody did the step before."""
    return {
        "Put": {
            "TableName": table,
            "Item": encode_run(after),
            "ConditionExpression": "step = :step AND attribute_not_exists(listed_at)",
            "ExpressionAttributeValues": {":step": number(before.step)},
        }
    }


def note_on_page(
    table: str, page: ClosePage, closed: Sequence[str], failed: Mapping[str, str], at: datetime
) -> dict[str, Any]:
    """Build the update that notes who of a page is closed, and who is given up and why."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {":at": instant_value(at)}
    sets, removes = ["touched_at = :at"], []
    for position, (customer_id, reason) in enumerate(failed.items()):
        names[f"#f{position}"] = customer_id
        values[f":r{position}"] = string(reason)
        sets.append(f"failed.#f{position} = :r{position}")
    for position, customer_id in enumerate(closed):
        names[f"#c{position}"] = customer_id
        removes.append(f"failed.#c{position}")
    expression = f"SET {', '.join(sets)}"
    if closed:
        values[":closed"] = {"SS": list(closed)}
        expression += f" REMOVE {', '.join(removes)} DELETE open_ids :closed"
    return {
        "TableName": table,
        "Key": page_key(page.period, page.number),
        "UpdateExpression": expression,
        "ConditionExpression": "attribute_exists(pk)",
        "ExpressionAttributeValues": values,
        **({"ExpressionAttributeNames": names} if names else {}),
    }


class DynamoDBMonthEndStore:
    """`flowstack_core.services.ports.closing.MonthEndStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str) -> None:
        self._client = client
        self._table = usage_table

    def run(self, period: Period) -> MonthEndRun | None:
        """Return the run of a period, read consistently."""
        with contention():
            found = self._client.get_item(
                TableName=self._table, Key=run_key(period), ConsistentRead=True
            )
        return decode_run(found["Item"]) if "Item" in found else None

    def runs(self, limit: int) -> Sequence[MonthEndRun]:
        """Return the newest runs first."""
        found = query(
            self._client,
            TableName=self._table,
            KeyConditionExpression="pk = :runs",
            ExpressionAttributeValues={":runs": string("MONTH_ENDS")},
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=limit,
        )
        return [decode_run(item) for item in islice(found, limit)]

    def start(self, run: MonthEndRun) -> bool:
        """Add a run; ``False`` if the period has one."""
        return transact(self._client, put_once(self._table, encode_run(run))) is None

    def advance(self, before: MonthEndRun, after: MonthEndRun, pages: Sequence[ClosePage]) -> bool:
        """Do a step: its pages and the run's move in one transaction."""
        written = [put_once(self._table, encode_page(page, after.moved_at)) for page in pages]
        moved = move_run(self._table, before, after)
        return transact(self._client, moved, *written, proof=0) is None

    def finish(self, run: MonthEndRun, at: datetime) -> None:
        """Note that no customer of the run is open any more; the first note stays."""
        with contention():
            self._client.update_item(
                TableName=self._table,
                Key=run_key(run.period),
                UpdateExpression="SET finished_at = if_not_exists(finished_at, :at)",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={":at": instant_value(at)},
            )

    def pages(
        self, period: Period, first: int = 0, count: int | None = None
    ) -> Iterator[PageState]:
        """Yield the pages of a run in the order of their numbers, from ``first`` on."""
        last = 10**_PAGE_DIGITS - 1 if count is None else first + count - 1
        for item in query(
            self._client,
            TableName=self._table,
            KeyConditionExpression="pk = :run AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":run": string(f"MONTH_END#{period.name}"),
                ":first": string(_page_sort_key(first)),
                ":last": string(_page_sort_key(last)),
            },
            ConsistentRead=True,
        ):
            yield decode_page(item)

    def record(
        self, page: ClosePage, closed: Sequence[str], failed: Mapping[str, str], at: datetime
    ) -> None:
        """Note which of a page's customers are closed, and why others were given up."""
        try:
            with contention():
                self._client.update_item(**note_on_page(self._table, page, closed, failed, at))
        except ClientError as error:
            if failed_condition(error) is None:
                raise
            # Nobody keeps the books of this page: it was asked for outside of a run.
