"""Customers, keys, subscriptions, the audit trail and test clocks in DynamoDB.

Every act is one transaction that ends with its audit record. The record doubles as the durable
proof that the act took effect: an act is safe to repeat after any delay, because a record that is
already there means "applied".

A key stands twice: under its digest, where the authorizer finds it with one read, and under its
customer, where operators list it. Both items are written and revoked together.

Functions build every request and name every condition after what it protects; the stores send
them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_codec import (
    Item,
    batch_get,
    contention,
    encode_instant,
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
from flowstack_core.adapters.dynamodb_usage import (
    DynamoDBUsageStore,
    counter_key,
    counter_not_opened,
    counter_open,
    counter_raise,
    subscription_key,
    subscription_unchanged,
)
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Origin, PendingChange, Subscription, Terms
from flowstack_core.services.ports.accounts import AuditRecord, Customer, Page
from flowstack_core.services.ports.failures import StoreContentionError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from flowstack_core.domain.api_keys import KeyRecord
    from flowstack_core.domain.month_end import Listing

KIND_INDEX = "by-kind"

_CUSTOMERS = "CUSTOMERS"
_POSITION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z#[0-9A-Za-z_]{1,64}")


# --- keys and items ------------------------------------------------------------------------


def profile_key(customer_id: str) -> dict[str, Any]:
    """Return the key of a customer's profile."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string("PROFILE")}


def digest_key(digest: str) -> dict[str, Any]:
    """Return the key under which the authorizer finds an API key."""
    return {"pk": string(f"KEY#{digest}"), "sk": string("KEY")}


def listed_key(customer_id: str, key_id: str) -> dict[str, Any]:
    """Return the key under which an API key is listed with its customer."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string(f"KEY#{key_id}")}


def audit_key(customer_id: str, audit_id: str) -> dict[str, Any]:
    """Return the key of an audit record."""
    return {"pk": string(f"AUDIT#{customer_id}"), "sk": string(audit_id)}


def clock_key(customer_id: str) -> dict[str, Any]:
    """Return the key of a customer's test clock."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string("TEST_CLOCK")}


def encode_customer(customer: Customer) -> dict[str, Any]:
    """Write a profile; the index lists profiles in the order they were created."""
    return {
        **profile_key(customer.customer_id),
        "kind_pk": string(_CUSTOMERS),
        "kind_sk": string(_position(customer)),
        "customer_id": string(customer.customer_id),
        "name": string(customer.name),
        "created_at": instant_value(customer.created_at),
    }


def decode_customer(item: Item) -> Customer:
    """Read a profile."""
    return Customer(
        customer_id=item["customer_id"]["S"],
        name=item["name"]["S"],
        created_at=read_instant(item, "created_at"),
    )


def encode_subscription(subscription: Subscription) -> dict[str, Any]:
    """Write a subscription, with the change that waits for the next period if there is one."""
    item = {
        **subscription_key(subscription.customer_id),
        "customer_id": string(subscription.customer_id),
        "version": number(subscription.version),
        "terms": encode_terms(subscription.terms),
    }
    if subscription.pending is not None:
        item["pending"] = _encode_pending(subscription.pending)
    if subscription.ended_at is not None:
        item["ended_at"] = instant_value(subscription.ended_at)
    return item


def decode_subscription(item: Item) -> Subscription:
    """Read a subscription."""
    return Subscription(
        customer_id=item["customer_id"]["S"],
        terms=decode_terms(item["terms"]["M"]),
        version=read_integer(item, "version"),
        pending=_decode_pending(item["pending"]["M"]) if "pending" in item else None,
        ended_at=read_optional_instant(item, "ended_at"),
    )


def _encode_pending(pending: PendingChange) -> dict[str, Any]:
    attributes = {
        "terms": encode_terms(pending.terms),
        "period": string(pending.effective_period.name),
        "origin": string(pending.origin.value),
    }
    if pending.covers is not None:
        attributes["covers"] = _encode_pending(pending.covers)
    return {"M": attributes}


def _decode_pending(item: Item) -> PendingChange:
    return PendingChange(
        terms=decode_terms(item["terms"]["M"]),
        effective_period=Period.parse(item["period"]["S"]),
        origin=Origin(item["origin"]["S"]),
        covers=_decode_pending(item["covers"]["M"]) if "covers" in item else None,
    )


def encode_terms(terms: Terms) -> dict[str, Any]:
    """Write terms, as a part of an item."""
    return {
        "M": {
            "tier": string(terms.tier.value),
            "session_limit": number(terms.session_limit),
            "price_cents": number(terms.price_cents),
        }
    }


def decode_terms(item: Item) -> Terms:
    """Read terms."""
    return Terms(
        tier=Tier(item["tier"]["S"]),
        session_limit=read_integer(item, "session_limit"),
        price_cents=read_integer(item, "price_cents"),
    )


def encode_key(record: KeyRecord) -> dict[str, Any]:
    """Write what is kept of a key, without the place it stands at."""
    attributes = {
        "key_id": string(record.key_id),
        "customer_id": string(record.customer_id),
        "digest": string(record.digest),
        "masked": string(record.masked),
        "name": string(record.name),
        "created_at": instant_value(record.created_at),
    }
    if record.expires_at is not None:
        attributes["expires_at"] = instant_value(record.expires_at)
    if record.revoked_at is not None:
        attributes["revoked_at"] = instant_value(record.revoked_at)
    return attributes


def decode_key(item: Item) -> KeyRecord:
    """Read a key's record, from either of its items."""
    from flowstack_core.domain.api_keys import KeyRecord  # noqa: PLC0415

    return KeyRecord(
        key_id=item["key_id"]["S"],
        customer_id=item["customer_id"]["S"],
        digest=item["digest"]["S"],
        masked=item["masked"]["S"],
        name=item["name"]["S"],
        created_at=read_instant(item, "created_at"),
        expires_at=read_optional_instant(item, "expires_at"),
        revoked_at=read_optional_instant(item, "revoked_at"),
    )


def encode_audit(audit: AuditRecord) -> dict[str, Any]:
    """Write an audit record; the index lists a customer's records by time."""
    return {
        **audit_key(audit.customer_id, audit.audit_id),
        "kind_pk": string(f"AUDIT#{audit.customer_id}"),
        "kind_sk": string(f"{encode_instant(audit.at)}#{audit.audit_id}"),
        "customer_id": string(audit.customer_id),
        "audit_id": string(audit.audit_id),
        "at": instant_value(audit.at),
        "actor": string(audit.actor),
        "action": string(audit.action),
        "before": string(json.dumps(audit.before)),
        "after": string(json.dumps(audit.after)),
    }


def decode_audit(item: Item) -> AuditRecord:
    """Read an audit record."""
    return AuditRecord(
        customer_id=item["customer_id"]["S"],
        audit_id=item["audit_id"]["S"],
        at=read_instant(item, "at"),
        actor=item["actor"]["S"],
        action=item["action"]["S"],
        before=json.loads(item["before"]["S"]),
        after=json.loads(item["after"]["S"]),
    )


# --- where a page of customers ends --------------------------------------------------------


def _position(customer: Customer) -> str:
    return f"{encode_instant(customer.created_at)}#{customer.customer_id}"


def encode_cursor(last: Customer) -> str:
    """Return the cursor of the page that follows ``last``."""
    position = _position(last).encode()
    checksum = zlib.crc32(position).to_bytes(4, "big")
    return base64.urlsafe_b64encode(checksum + position).decode().rstrip("=")


def decode_cursor(cursor: str) -> dict[str, Any]:
    """Return where a query of the index goes on.

    Raises
    ------
    InvalidRequestError
        If the cursor is not one that `encode_cursor` made.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = raw[4:].decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _bad_cursor() from error
    sound = zlib.crc32(raw[4:]).to_bytes(4, "big") == raw[:4]
    if not sound or _POSITION.fullmatch(position) is None:
        raise _bad_cursor()
    customer_id = position.split("#", 1)[1]
    return {
        **profile_key(customer_id),
        "kind_pk": string(_CUSTOMERS),
        "kind_sk": string(position),
    }


def _bad_cursor() -> InvalidRequestError:
    return InvalidRequestError(
        "The cursor is not one that a page of customers gave.",
        details={"field": "cursor", "hint": "Leave it out to begin with the first page."},
    )


# --- requests ------------------------------------------------------------------------------


def customer_exists(table: str, customer_id: str) -> dict[str, Any]:
    """Check that there is such a customer: nobody else has keys."""
    return {
        "ConditionCheck": {
            "TableName": table,
            "Key": profile_key(customer_id),
            "ConditionExpression": "attribute_exists(pk)",
        }
    }


def add_key_items(table: str, record: KeyRecord) -> list[dict[str, Any]]:
    """Write both items of a new key."""
    attributes = encode_key(record)
    return [
        put_once(table, {**digest_key(record.digest), **attributes}),
        put_once(table, {**listed_key(record.customer_id, record.key_id), **attributes}),
    ]


def revoke_key_items(table: str, record: KeyRecord, audit: AuditRecord) -> list[dict[str, Any]]:
    """Mark both items of a key revoked; the instant of the first revocation stays."""
    return [
        {
            "Update": {
                "TableName": table,
                "Key": key,
                "UpdateExpression": "SET revoked_at = :at",
                "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(revoked_at)",
                "ExpressionAttributeValues": {":at": instant_value(audit.at)},
            }
        }
        for key in (digest_key(record.digest), listed_key(record.customer_id, record.key_id))
    ]


def replace_subscription(table: str, before: Subscription, after: Subscription) -> dict[str, Any]:
    """Replace a subscription, if nobody changed it since it was read."""
    return {
        "Put": {
            "TableName": table,
            "Item": encode_subscription(after),
            "ConditionExpression": "version = :before",
            "ExpressionAttributeValues": {":before": number(before.version)},
        }
    }


def counter_credit(
    table: str, subscription: Subscription, period: Period, sessions: int
) -> dict[str, Any]:
    """Add sessions to the limit of a counter that is up to the subscription."""
    return {
        "Update": {
            "TableName": table,
            "Key": counter_key(subscription.customer_id, period),
            "UpdateExpression": "ADD session_limit :credit, credited_sessions :credit",
            "ConditionExpression": (
                "subscription_version = :version AND attribute_not_exists(closed_at)"
            ),
            "ExpressionAttributeValues": {
                ":credit": number(sessions),
                ":version": number(subscription.version),
            },
        }
    }


def move_clock(table: str, customer_id: str, before: float, after: float) -> dict[str, Any]:
    """Move a test clock, if nobody moved it since it was read."""
    still_there = "offset_seconds = :before"
    return {
        "Update": {
            "TableName": table,
            "Key": clock_key(customer_id),
            "UpdateExpression": "SET offset_seconds = :after",
            "ConditionExpression": (
                f"attribute_not_exists(pk) OR {still_there}" if before == 0 else still_there
            ),
            "ExpressionAttributeValues": {
                ":before": {"N": repr(float(before))},
                ":after": {"N": repr(float(after))},
            },
        }
    }


# --- transactions --------------------------------------------------------------------------


class Acts:
    """Carries out acts on one table of accounts."""

    def __init__(self, client: DynamoDBClient, accounts_table: str) -> None:
        self._client = client
        self._accounts_table = accounts_table

    def _get(self, key: dict[str, Any]) -> Item | None:
        with contention():
            found = self._client.get_item(
                TableName=self._accounts_table, Key=key, ConsistentRead=True
            )
        return found.get("Item")

    def _query(self, request: dict[str, Any], enough: int | None = None) -> Iterator[Item]:
        """Yield the items a query finds, ``enough`` of them at most, reading on as needed."""
        limit = {} if enough is None else {"Limit": enough}
        found = query(self._client, TableName=self._accounts_table, **request, **limit)
        return islice(found, enough)

    def _act(
        self,
        audit: AuditRecord,
        preconditions: Sequence[dict[str, Any]],
        consequences: Sequence[dict[str, Any]] = (),
    ) -> bool:
        """Write everything with its audit record, or nothing.

        Parameters
        ----------
        preconditions
            Writes whose conditions say whether the act applies at all.
        consequences
            Writes computed from what was read just before: where only their conditions fail,
            reading again helps.

        Returns
        -------
        bool
            Whether the act is in effect, be it by this call or by an earlier one.
        """
        record = put_once(self._accounts_table, encode_audit(audit))
        failed = transact(self._client, *preconditions, *consequences, record, proof=-1)
        if failed is None or failed[-1] is not None:
            return True
        if self._get(audit_key(audit.customer_id, audit.audit_id)) is not None:
            return True
        if all(found is None for found in failed[: len(preconditions)]):
            raise StoreContentionError("the counter moved on")
        return False


# --- the stores ----------------------------------------------------------------------------


class DynamoDBAccountStore(Acts):
    """`flowstack_core.services.ports.accounts.AccountStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, accounts_table: str, usage_table: str) -> None:
        super().__init__(client, accounts_table)
        self._usage_table = usage_table
        self._usage = DynamoDBUsageStore(client, usage_table, accounts_table)

    def subscription(self, customer_id: str) -> Subscription | None:
        """Return the subscription, read consistently."""
        item = self._get(subscription_key(customer_id))
        return None if item is None else decode_subscription(item)

    def key(self, digest: str) -> KeyRecord | None:
        """Return the record of the key with this SHA-256, read consistently."""
        item = self._get(digest_key(digest))
        return None if item is None else decode_key(item)

    def create_customer(
        self, customer: Customer, subscription: Subscription, key: KeyRecord, audit: AuditRecord
    ) -> bool:
        """Add a customer with a subscription and a first key."""
        table = self._accounts_table
        return self._act(
            audit,
            [
                put_once(table, encode_customer(customer)),
                put_once(table, encode_subscription(subscription)),
                *add_key_items(table, key),
            ],
        )

    def customer(self, customer_id: str) -> Customer | None:
        """Return the customer."""
        item = self._get(profile_key(customer_id))
        return None if item is None else decode_customer(item)

    def customers(self, limit: int, cursor: str | None) -> Page:
        """Return a page of customers, in the order they were created.

        Raises
        ------
        InvalidRequestError
            If ``cursor`` is not one that an earlier page gave.
        """
        request = {
            "IndexName": KIND_INDEX,
            "KeyConditionExpression": "kind_pk = :kind",
            "ExpressionAttributeValues": {":kind": string(_CUSTOMERS)},
        }
        if cursor is not None:
            request["ExclusiveStartKey"] = decode_cursor(cursor)
        # One more than asked for tells whether there is a next page.
        found = [decode_customer(item) for item in self._query(request, limit + 1)]
        page = found[:limit]
        subscriptions = self._subscriptions(page)
        return Page(
            customers=tuple((c, subscriptions[c.customer_id]) for c in page),
            next_cursor=encode_cursor(page[-1]) if len(found) > limit else None,
        )

    def _subscriptions(self, customers: Sequence[Customer]) -> dict[str, Subscription]:
        keys = [subscription_key(customer.customer_id) for customer in customers]
        found = map(decode_subscription, batch_get(self._client, self._accounts_table, keys))
        return {subscription.customer_id: subscription for subscription in found}

    def created_before(self, end: datetime, cursor: str | None, limit: int) -> Listing:
        """Return the customers behind the cursor who were created before ``end``."""
        from flowstack_core.domain.month_end import Listing  # noqa: PLC0415

        request = {
            "IndexName": KIND_INDEX,
            "KeyConditionExpression": "kind_pk = :kind AND kind_sk < :end",
            "ExpressionAttributeValues": {":kind": string(_CUSTOMERS), ":end": instant_value(end)},
        }
        if cursor is not None:
            request["ExclusiveStartKey"] = decode_cursor(cursor)
        found = [decode_customer(item) for item in self._query(request, limit + 1)]
        page = found[:limit]
        return Listing(
            customer_ids=tuple(customer.customer_id for customer in page),
            cursor=encode_cursor(page[-1]) if page else cursor,
            more=len(found) > limit,
        )

    def add_key(self, key: KeyRecord, audit: AuditRecord) -> bool:
        """Add a key to an existing customer."""
        table = self._accounts_table
        return self._act(
            audit, [customer_exists(table, key.customer_id), *add_key_items(table, key)]
        )

    def keys(self, customer_id: str) -> Sequence[KeyRecord]:
        """Return the customer's keys, revoked ones included, in the order of their ids."""
        request = {
            "KeyConditionExpression": "pk = :customer AND begins_with(sk, :key)",
            "ExpressionAttributeValues": {
                ":customer": string(f"CUSTOMER#{customer_id}"),
                ":key": string("KEY#"),
            },
            "ConsistentRead": True,
        }
        return [decode_key(item) for item in self._query(request)]

    def revoke_key(self, key: KeyRecord, audit: AuditRecord) -> bool:
        """Mark the key revoked at ``audit.at``."""
        return self._act(audit, revoke_key_items(self._accounts_table, key, audit))

    def change_subscription(
        self, before: Subscription, after: Subscription, period: Period, audit: AuditRecord
    ) -> bool:
        """Replace the subscription and bring the period's counter up to it, both or neither.

        A change that was decided in one month and is written in the next would be one of the
        wrong month: a closed counter, or one of the next period, tells that it is too late.
        """
        counter = self._usage.period_usage(after.customer_id, period)
        if counter is not None and counter.closed_at is not None:
            return False
        return self._act(
            audit,
            [
                replace_subscription(self._accounts_table, before, after),
                counter_not_opened(self._usage_table, after.customer_id, period.next()),
            ],
            [
                counter_open(self._usage_table, after, period, before=before)
                if counter is None
                else counter_raise(self._usage_table, after, counter)
            ],
        )

    def credit(
        self, subscription: Subscription, period: Period, sessions: int, audit: AuditRecord
    ) -> bool:
        """Add sessions to the period's limit, once per ``audit.audit_id`` however often repeated.

        A transaction writes an item once at most, so a counter that is behind the subscription is
        brought up to it first, as the next admission would do: that alone changes no outcome.
        """
        self._usage.open_period(subscription, period)
        counter = self._usage.period_usage(subscription.customer_id, period)
        if counter is not None and counter.closed_at is not None:
            return False
        return self._act(
            audit,
            [subscription_unchanged(self._accounts_table, subscription)],
            [counter_credit(self._usage_table, subscription, period, sessions)],
        )

    def audit_record(self, customer_id: str, audit_id: str) -> AuditRecord | None:
        """Return the record of one act, read consistently."""
        item = self._get(audit_key(customer_id, audit_id))
        return None if item is None else decode_audit(item)

    def audit_trail(self, customer_id: str, limit: int) -> Sequence[AuditRecord]:
        """Return the newest audit records first; the very latest may lag by a moment."""
        request = {
            "IndexName": KIND_INDEX,
            "KeyConditionExpression": "kind_pk = :trail",
            "ExpressionAttributeValues": {":trail": string(f"AUDIT#{customer_id}")},
            "ScanIndexForward": False,
        }
        return [decode_audit(item) for item in self._query(request, limit)]


class DynamoDBClockOffsetStore(Acts):
    """`flowstack_core.services.ports.accounts.ClockOffsetStore` on DynamoDB."""

    def offset_seconds(self, customer_id: str) -> float:
        """Return how far ahead of the system's clock the customer's is, read consistently."""
        item = self._get(clock_key(customer_id))
        return 0.0 if item is None else float(item["offset_seconds"]["N"])

    def set_offset(self, customer_id: str, before: float, after: float, audit: AuditRecord) -> bool:
        """Move the clock, if it still stands at ``before``."""
        return self._act(audit, [move_clock(self._accounts_table, customer_id, before, after)])
