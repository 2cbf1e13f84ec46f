"""Every kind of item that is stored of a customer: where it stands, what of it is the customer's.

This table is what an export reads and what an erasure deletes. A new kind of item is one entry
here; a test holds the table against ``docs/data-model.md``.

Kinds stand in the order in which they are gone through: a kind whose partitions are found by the
items of another (its leader) stands before that one, so that deleting never loses the way.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowstack_core.adapters.dynamodb_codec import Item, escaped


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of item.

    Attributes
    ----------
    name
        What reports call it.
    table
        Which table it stands in.
    partition
        Its partition key, with ``{customer}``, ``{period}``, or attributes of its leader.
    sort
        What its sort keys begin with.
    file
        The file of an archive that holds it; ``None`` where nothing of it is the customer's.
    shown
        The attributes that an archive shows. Whatever is not named here stays inside.
    sort_key_as
        The name under which an archive shows the sort key.
    leader
        The kind whose items lead to its partitions.
    leader_as
        The name under which an archive shows its leader's sort key.
    session_of_leader
        Whether it is its leader's only while it has the same session.
    said_as
        The name under which an archive shows what was said, by the way it went.
    kept
        Whether an erasure leaves it.
    """

    name: str
    table: str
    partition: str
    sort: str = ""
    file: str | None = None
    shown: tuple[str, ...] = ()
    sort_key_as: str | None = None
    leader: str | None = None
    leader_as: str | None = None
    session_of_leader: bool = False
    said_as: str | None = None
    kept: bool = False

    def partition_of(self, customer_id: str, period: str = "", leader: Item | None = None) -> str:
        """Return a partition key."""
        led_by = {
            name: escaped(value["S"]) for name, value in (leader or {}).items() if "S" in value
        }
        names = {**led_by, "customer": customer_id, "period": period}
        return self.partition.format_map(names)


_TALK = ("messages", "input_tokens", "output_tokens")

KINDS: tuple[Kind, ...] = (
    Kind(
        "turn of a transcript",
        "sessions",
        "SESSION#{sk}",
        sort="TURN#",
        file="transcripts",
        shown=("at", "messages"),
        leader="record of a session",
        leader_as="session_id",
    ),
    Kind(
        "live session",
        "sessions",
        "CONVERSATION#{customer}#{agent}#{conversation_id}",
        sort="SESSION",
        file="conversations",
        shown=(
            *("session_id", "agent", "conversation_id", "period", "started_at"),
            *("last_activity_at", "processed_at", "managed", "turns", "tokens_used"),
        ),
        said_as="said",
        leader="record of a session",
        session_of_leader=True,
    ),
    Kind(
        "record of a session",
        "sessions",
        "RECORDS#{customer}#{period}",
        file="sessions",
        shown=("agent", "conversation_id", "started_at", "managed", "released_at"),
        sort_key_as="session_id",
        said_as="rolled_up",
    ),
    # After the records: a session whose record is gone adds nothing to them any more.
    Kind(
        "total of a day",
        "usage",
        "ROLLUPS#{customer}",
        sort="DAY#",
        file="days",
        shown=(
            *("sessions", "managed_sessions"),
            *(f"{payer}_{what}" for payer in ("managed", "byok") for what in _TALK),
        ),
        sort_key_as="day",
    ),
    Kind(
        "slice of a day",
        "usage",
        "ROLLUPS#{customer}",
        sort="SLICE#",
        file="slices",
        shown=("sessions", *_TALK),
        sort_key_as="slice",
    ),
    Kind(
        "deferred request",
        "sessions",
        "REQUESTS#{customer}",
        file="requests",
        shown=(
            *("operation", "agent", "conversation_id", "session_id", "accepted_at", "status"),
            *("body", "answer", "failure"),
        ),
        sort_key_as="part",
    ),
    Kind(
        "document",
        "vault",
        "DOCUMENTS#{customer}",
        file="vault",
        shown=("body", "updated_at", "expires_at"),
        sort_key_as="place",
    ),
    Kind("receipt of a write to the vault", "vault", "RECEIPTS#{customer}"),
    Kind(
        "stored credentials",
        "accounts",
        "CREDENTIALS#{customer}",
        file="credentials",
        shown=("masked", "created_at", "updated_at", "last_used_at"),
        sort_key_as="provider",
    ),
    Kind(
        "standing of a payment",
        "accounts",
        "PAYMENT#{sk}",
        sort="STANDING",
        file="payments",
        shown=("subscription_id", "began_at", "paid_at", "failures"),
        leader="name at the payment provider",
    ),
    Kind(
        "payer",
        "accounts",
        "PAYMENT#{sk}",
        sort="PAYER",
        file="payers",
        shown=("customer_id",),
        leader="name at the payment provider",
        leader_as="payer_id",
    ),
    Kind("name at the payment provider", "accounts", "PAYMENTS#{customer}"),
    Kind("subscription that decides", "accounts", "CUSTOMER#{customer}", sort="PAYMENT"),
    Kind("key, as looked up", "accounts", "KEY#{digest}", sort="KEY", leader="key, as listed"),
    Kind(
        "key, as listed",
        "accounts",
        "CUSTOMER#{customer}",
        sort="KEY#",
        file="keys",
        shown=("key_id", "masked", "name", "created_at", "expires_at", "revoked_at"),
    ),
    # Before its deliveries: without it none is added any more.
    Kind(
        "webhook",
        "accounts",
        "CUSTOMER#{customer}",
        sort="WEBHOOK",
        file="webhook",
        shown=("url", "created_at", "updated_at", "switched_off_at"),
    ),
    Kind(
        "delivery of a webhook",
        "usage",
        "WEBHOOK#{customer}",
        file="webhook_deliveries",
        shown=(
            *("type", "at", "data", "created_at", "status", "failure"),
            *("series", "attempts"),
        ),
        sort_key_as="event_id",
    ),
    Kind("place of a delivery", "usage", "WEBHOOK_LOG#{customer}"),
    Kind(
        "alert settings",
        "accounts",
        "CUSTOMER#{customer}",
        sort="ALERT_SETTINGS",
        file="alert_settings",
        shown=("thresholds", "email"),
    ),
    Kind("test clock", "accounts", "CUSTOMER#{customer}", sort="TEST_CLOCK"),
    Kind(
        "counter",
        "usage",
        "CUSTOMER#{customer}",
        sort="PERIOD#",
        file="usage",
        shown=(
            *("period", "sessions_used", "managed_sessions", "session_limit"),
            *("credited_sessions", "tier", "tiers", "price_cents", "closed_at"),
            *("budget_told_at", "budget_block"),
        ),
    ),
    Kind(
        "alert",
        "usage",
        "CUSTOMER#{customer}",
        sort="ALERT#",
        file="alerts",
        shown=("period", "threshold", "at", "sessions_used", "session_limit"),
    ),
    Kind("adjustments", "usage", "CUSTOMER#{customer}", sort="ADJUSTMENTS"),
    Kind(
        "alert of a budget",
        "usage",
        "CUSTOMER#{customer}",
        sort="BUDGET#",
        file="budget_alerts",
        shown=("period", "reached"),
    ),
    Kind(
        "statement",
        "usage",
        "CUSTOMER#{customer}",
        sort="STATEMENT#",
        file="statements",
        shown=(
            *("period", "closed_at", "tiers", "sessions_used", "session_limit"),
            *("managed_sessions", "credited_sessions", "lines", "adjustments"),
            *("plan_before", "plan_after"),
        ),
        kept=True,
    ),
    Kind(
        "audit record",
        "accounts",
        "AUDIT#{customer}",
        file="acts",
        # Not the actor: that is one of the operator's people.
        shown=("at", "action", "before", "after"),
    ),
    Kind("export, and its steps", "accounts", "EXPORTS#{customer}"),
    Kind(
        "subscription, and the customer's own limits",
        "accounts",
        "CUSTOMER#{customer}",
        sort="SUBSCRIPTION",
        file="subscription",
        shown=(
            *("terms", "pending", "ended_at", "monthly_ceiling_cents", "ceiling_action"),
            *("session_turn_cap", "session_token_cap"),
        ),
        sort_key_as="part",
    ),
    Kind(
        "customer",
        "accounts",
        "CUSTOMER#{customer}",
        sort="PROFILE",
        file="customer",
        shown=("customer_id", "name", "created_at"),
    ),
    Kind("erasure", "accounts", "ERASURE#{customer}", sort="STATE", kept=True),
)
"""What is stored of a customer and can be listed."""

UNLISTED: tuple[tuple[str, str], ...] = (("sessions", "IDEMPOTENCY#{customer}#"),)
"""Partitions of a customer that nothing leads to. Their items live for a day and then expire."""

BOOKS: tuple[tuple[str, str], ...] = (
    ("usage", "MONTH_ENDS"),
    ("usage", "MONTH_END#"),
    ("usage", "MARGINS#"),
)
"""Partitions that are the operator's. Of customers they hold ids, as statements do."""
