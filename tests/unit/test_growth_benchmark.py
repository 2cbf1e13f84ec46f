"""The benchmark of growth finds what grows, and what may."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.bounds import Bound, UnboundedRequestError, bounds_of
from tests.bench.capacity import Units
from tests.bench.copying_emulator import UnnamedCopyError, copies, name_of_copy
from tests.bench.flatness import (
    Cost,
    GrownError,
    IncomparableError,
    Operation,
    check_flat,
    growth_of,
    sizes_up_to,
)

DIGEST = "0123456789abcdef" * 4
CUSTOMER = "cus_06ct5zq3r0abcdef"


def cost(size: int, trips: int = 3, read: float = 1.5, write: float = 6.0, items: int = 2) -> Cost:
    return Cost(size, trips, Units(read, write), items, milliseconds=float(size))


def operation(*costs: Cost, full_from: int = 1) -> Operation:
    return Operation("start", costs, full_from)


class TestWhatGrew:
    def test_nothing_did_where_only_time_did(self) -> None:
        assert growth_of(operation(cost(1), cost(1_000), cost(1_000_000))) == ()

    @pytest.mark.parametrize(
        ("more", "measure"),
        [
            (cost(1_000_000, trips=4), "3 round trips at 1, 4 at 1,000,000"),
            (cost(1_000_000, read=2), "1.5 read units at 1, 2 at 1,000,000"),
            (cost(1_000_000, write=7), "6 write units at 1, 7 at 1,000,000"),
            (cost(1_000_000, items=3), "2 items read at 1, 3 at 1,000,000"),
        ],
    )
    def test_each_measure_is_looked_at(self, more: Cost, measure: str) -> None:
        assert growth_of(operation(cost(1), cost(1_000), more)) == (f"start: {measure}",)

    def test_reads_do_not_make_up_for_writes(self) -> None:
        traded = cost(1_000, read=0, write=7)
        assert growth_of(operation(cost(1), traded)) == ("start: 6 write units at 1, 7 at 1,000",)

    def test_what_became_cheaper_first_grew_all_the_same(self) -> None:
        costs = cost(1, trips=10), cost(1_000, trips=5), cost(1_000_000, trips=8)
        assert growth_of(operation(*costs)) == ("start: 5 round trips at 1,000, 8 at 1,000,000",)

    def test_a_page_is_compared_once_it_is_full(self) -> None:
        costs = cost(1, items=1), cost(1_000, items=21), cost(1_000_000, items=21)
        assert growth_of(operation(*costs, full_from=21)) == ()
        assert growth_of(operation(*costs)) == ("start: 1 items read at 1, 21 at 1,000",)

    def test_one_size_tells_nothing(self) -> None:
        with pytest.raises(IncomparableError, match="start"):
            growth_of(operation(cost(1), cost(1_000), full_from=100))

    def test_the_failure_names_each_operation_that_grew(self) -> None:
        usage = Operation("usage", (cost(1), cost(1_000, trips=4)))
        flat = Operation("refusal", (cost(1), cost(1_000)))
        with pytest.raises(GrownError, match=r"^start: .*; usage: ") as raised:
            check_flat([operation(cost(1), cost(1_000, read=9)), usage, flat])
        assert "refusal" not in str(raised.value)

    def test_flat_operations_pass(self) -> None:
        check_flat([operation(cost(1), cost(1_000))])

    @pytest.mark.parametrize(
        ("most", "sizes"),
        [
            (1_000_000, (1, 1_000, 1_000_000)),
            (100_000, (1, 1_000, 100_000)),
            (100, (1, 50, 100)),
            (2, (1, 2)),
            (1, (1,)),
        ],
    )
    def test_sizes_go_up_to_what_is_wanted(self, most: int, sizes: tuple[int, ...]) -> None:
        assert sizes_up_to(most) == sizes


def key(partition: str) -> dict[str, Any]:
    return {"pk": {"S": partition}, "sk": {"S": "any"}}


def query(condition: str, partition: str, **more: Any) -> dict[str, Any]:
    name = condition.split(" = ")[1].split(maxsplit=1)[0]
    values = {name: {"S": partition}, **more.pop("values", {})}
    return {"KeyConditionExpression": condition, "ExpressionAttributeValues": values, **more}


def bounds(operation_name: str, asked: dict[str, Any]) -> list[Bound]:
    return list(bounds_of(operation_name, asked))


class TestWhatBoundsARequest:
    @pytest.mark.parametrize(
        ("partition", "shown"),
        [
            (f"CUSTOMER#{CUSTOMER}", "CUSTOMER#<customer>"),
            (f"KEY#{DIGEST}", "KEY#<sha256>"),
            ("SESSION#ses_06ct5zq3r0", "SESSION#<session>"),
            (f"CONVERSATION#{CUSTOMER}#agent#one", "CONVERSATION#<customer>#…"),
        ],
    )
    def test_a_key_that_names_its_owner(self, partition: str, shown: str) -> None:
        asked = {"Key": key(partition)}
        assert bounds("GetItem", asked) == [Bound("GetItem", shown, "its key")]
        assert bounds("UpdateItem", asked) == [Bound("UpdateItem", shown, "its key")]

    @pytest.mark.parametrize(
        "partition", ["CUSTOMERS", "KEY#0123", f"SESSION#{DIGEST}", "GLOBAL#all", "cus", ""]
    )
    def test_a_key_that_names_nobody_is_refused(self, partition: str) -> None:
        with pytest.raises(UnboundedRequestError, match="nobody's"):
            bounds("GetItem", {"Key": key(partition)})

    def test_every_part_of_a_transaction_is_looked_at(self) -> None:
        put = {"Put": {"Item": key(f"CUSTOMER#{CUSTOMER}")}}
        check = {"ConditionCheck": {"Key": key(f"KEY#{DIGEST}")}}
        assert [each.partition for each in bounds("TransactWriteItems", items(put, check))] == [
            "CUSTOMER#<customer>",
            "KEY#<sha256>",
        ]
        with pytest.raises(UnboundedRequestError):
            bounds("TransactWriteItems", items(put, {"Update": {"Key": key("TOTALS")}}))

    def test_every_key_of_a_batch_is_looked_at(self) -> None:
        mine, nobodys = key(f"CUSTOMER#{CUSTOMER}"), key("TOTALS")
        assert len(bounds("BatchGetItem", {"RequestItems": {"t": {"Keys": [mine, mine]}}})) == 2
        with pytest.raises(UnboundedRequestError):
            bounds("BatchGetItem", {"RequestItems": {"t": {"Keys": [mine, nobodys]}}})

    @pytest.mark.parametrize("name", ["Scan", "ExecuteStatement", "BatchWriteItem"])
    def test_what_names_no_partition_is_refused(self, name: str) -> None:
        with pytest.raises(UnboundedRequestError, match=name):
            bounds(name, {"TableName": "accounts"})

    def test_a_limit_bounds_a_query_of_any_partition(self) -> None:
        asked = query("kind_pk = :kind", "CUSTOMERS", Limit=21, IndexName="by-kind")
        assert bounds("Query", asked) == [Bound("Query", "by-kind: CUSTOMERS", "its Limit, 21")]

    @pytest.mark.parametrize(
        "asked",
        [
            query("kind_pk = :kind", "CUSTOMERS"),
            query("pk = :pk", f"RECORDS#{CUSTOMER}#2026-11"),
            query("pk = :pk", f"ROLLUPS#{CUSTOMER}"),
            query("pk = :customer", f"CUSTOMER#{CUSTOMER}"),
            query(
                "pk = :customer AND begins_with(sk, :subscription)",
                f"CUSTOMER#{CUSTOMER}",
                values={":subscription": {"S": "S"}},
            ),
        ],
    )
    def test_a_query_of_what_may_be_large_needs_a_limit(self, asked: dict[str, Any]) -> None:
        with pytest.raises(UnboundedRequestError):
            bounds("Query", asked)
        assert bounds("Query", {**asked, "Limit": 20})

    @pytest.mark.parametrize(
        "asked",
        [
            query("pk = :pk AND sk > :since", "SESSION#ses_06ct5zq3r0"),
            query("held_in = :held_in", f"{CUSTOMER}#2026-11"),
            query("pk = :pk AND sk BETWEEN :first AND :last", f"ROLLUPS#{CUSTOMER}"),
            query(
                "pk = :customer AND begins_with(sk, :subscription)",
                f"CUSTOMER#{CUSTOMER}",
                values={":subscription": {"S": "SUBSCRIPTION"}},
            ),
        ],
    )
    def test_a_query_of_what_stays_small_needs_none(self, asked: dict[str, Any]) -> None:
        assert bounds("Query", asked)

    def test_a_query_whose_partition_cannot_be_seen_is_refused(self) -> None:
        asked = {"KeyConditionExpression": "#p = :pk", "ExpressionAttributeValues": {}, "Limit": 1}
        with pytest.raises(UnboundedRequestError, match="#p"):
            bounds("Query", asked)


def items(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"TransactItems": list(parts)}


PROFILE: dict[str, Any] = {
    "pk": {"S": f"CUSTOMER#{CUSTOMER}"},
    "sk": {"S": "PROFILE"},
    "customer_id": {"S": CUSTOMER},
    "note": {"S": '{"of": {}}'},
    "version": {"N": "1"},
}


class TestCopies:
    def test_differ_in_names_alone(self) -> None:
        (copy,) = copies([PROFILE], [CUSTOMER], [42])
        assert copy == {
            **PROFILE,
            "pk": {"S": "CUSTOMER#cus_06ct5zq000000042"},
            "customer_id": {"S": "cus_06ct5zq000000042"},
        }

    def test_are_as_large(self) -> None:
        assert len(name_of_copy(CUSTOMER, 999_999)) == len(CUSTOMER)

    def test_have_every_name_replaced_wherever_it_stands(self) -> None:
        audit = {"pk": {"S": f"{{{CUSTOMER}}}#{DIGEST}"}, "sk": {"S": CUSTOMER + CUSTOMER}}
        renamed = "cus_06ct5zq000000007"
        assert list(copies([audit], [CUSTOMER, DIGEST], [7])) == [
            {
                "pk": {"S": f"{{{renamed}}}#{DIGEST[:-9]}000000007"},
                "sk": {"S": renamed + renamed},
            }
        ]

    def test_of_one_customer_keep_together_and_apart_from_others(self) -> None:
        made = list(copies([PROFILE, PROFILE], [CUSTOMER], range(3)))
        owners = [copy["customer_id"]["S"] for copy in made]
        assert owners[0::2] == owners[1::2]
        assert len(set(owners)) == 3

    @pytest.mark.parametrize(
        "hidden",
        [
            {"before": {"M": {"id": {"S": CUSTOMER}}}},
            {CUSTOMER: {"N": "1"}},
        ],
    )
    def test_are_not_made_where_a_name_would_stay(self, hidden: dict[str, Any]) -> None:
        with pytest.raises(UnnamedCopyError):
            list(copies([{**PROFILE, **hidden}], [CUSTOMER], [1]))
