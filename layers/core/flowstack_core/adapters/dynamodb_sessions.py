"""Sessions, transcripts and idempotency keys in DynamoDB.

Several kinds of items share the table. The *head* of a conversation is its latest session; a
*record* is the durable trace of one session; a *turn* is one exchange of a transcript; claims and
deferred requests have modules of their own. Whether a session is alive is always a comparison of
instants: that DynamoDB deletes expired items, and how late, is a matter of tidiness only (S2).

Functions build every request and name every condition after the rule it serves; the store sends
them. A failed condition returns the item it failed on, so that nothing is read a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_claims import (
    answer_claim,
    decode_claim,
    delete_claim,
    put_claim,
)
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    contention,
    decode_instant,
    document_value,
    encode_instant,
    epoch_value,
    escaped,
    failed_condition,
    flag,
    instant_value,
    number,
    query,
    read_count,
    read_document,
    read_instant,
    read_optional_instant,
    string,
    transact,
)
from flowstack_core.adapters.dynamodb_deferred import end_run, ended_by
from flowstack_core.adapters.dynamodb_talk import (
    OPENED_BY,
    decode_opened_by,
    decode_said,
    encode_talk,
    named,
    opened_by_value,
)
from flowstack_core.adapters.dynamodb_usage import (
    adjust,
    count_release,
    count_start,
    decode_usage,
    managed_included,
)
from flowstack_core.adapters.message_codec import decode_message, encode_message
from flowstack_core.domain.idempotency import Claim
from flowstack_core.domain.messages import turn_tokens
from flowstack_core.domain.periods import Period
from flowstack_core.domain.rollups import Talk
from flowstack_core.domain.sessions import (
    INACTIVITY_LIMIT,
    Conversation,
    Session,
    SessionRecord,
    activity_cutoff,
)
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.sessions import (
    Admitted,
    Attempt,
    BudgetReached,
    ContinueOutcome,
    LimitReached,
    ManagedNotGranted,
    ManagedNotIncluded,
    NoLiveSession,
    PeriodClosed,
    PeriodNotOpen,
    SessionAlive,
    SessionCapped,
    Settlement,
    StartOutcome,
    Turn,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

HELD_INDEX = "held-sessions"
HEAD_SORT_KEY = "SESSION"

TRANSCRIPT_MEMORY = timedelta(hours=24)
"""How far back a conversation that never pauses remembers."""

RECORD_RETENTION = timedelta(days=400)
"""How long a session's record outlives its period: long past the close, a year for questions."""

_RELEASE_ATTEMPTS = 3


# --- keys and items ------------------------------------------------------------------------


def head_key(conversation: Conversation) -> dict[str, Any]:
    """Return the key of a conversation's head."""
    thread = f"{escaped(conversation.agent)}#{escaped(conversation.conversation_id)}"
    return {
        "pk": string(f"CONVERSATION#{conversation.customer_id}#{thread}"),
        "sk": string(HEAD_SORT_KEY),
    }


def record_key(customer_id: str, period: Period, session_id: str) -> dict[str, Any]:
    """Return the key of a session's record."""
    return {"pk": string(f"RECORDS#{customer_id}#{period.name}"), "sk": string(session_id)}


def held_partition(customer_id: str, period: Period) -> dict[str, str]:
    """Return the partition of the index of held sessions; only held heads carry it."""
    return string(f"{customer_id}#{period.name}")


def decode_session(head: Item) -> Session:
    """Read a head."""
    return Session(
        session_id=head["session_id"]["S"],
        conversation=Conversation(
            head["customer_id"]["S"], head["agent"]["S"], head["conversation_id"]["S"]
        ),
        period=Period.parse(head["period"]["S"]),
        started_at=read_instant(head, "started_at"),
        last_activity_at=read_instant(head, "last_activity_at"),
        processed_at=read_optional_instant(head, "processed_at"),
        managed=head["managed"]["BOOL"],
        managed_until=read_optional_instant(head, "managed_until"),
        in_flight={
            attempt: decode_instant(until["S"]) for attempt, until in head["in_flight"]["M"].items()
        },
        opened_by=decode_opened_by(head),
        said=decode_said(head),
        turns=read_count(head, "turns"),
        tokens=read_count(head, "tokens_used"),
    )


def decode_record(item: Item, customer_id: str, period: Period) -> SessionRecord:
    """Read the record of a session."""
    return SessionRecord(
        session_id=item["sk"]["S"],
        conversation=Conversation(customer_id, item["agent"]["S"], item["conversation_id"]["S"]),
        period=period,
        started_at=read_instant(item, "started_at"),
        managed=item["managed"]["BOOL"],
        released_at=read_optional_instant(item, "released_at"),
        opened_by=decode_opened_by(item),
        rolled_up=decode_said(item),
    )


def _in_flight_value(session: Session) -> dict[str, Any]:
    return {"M": {name: instant_value(until) for name, until in session.in_flight.items()}}


# --- requests ------------------------------------------------------------------------------


def join_session(table: str, attempt: Attempt) -> dict[str, Any]:
    """Build the one update of a follow-up: join the live session, and move its activity.

    The session is alive (S2), its activity never moves back, managed models were granted if one
    is asked for (P4), no cap is reached, and the attempt did not join before: it is one turn.
    """
    within_caps, caps = _within(attempt)
    return {
        "TableName": table,
        "Key": head_key(attempt.conversation),
        "UpdateExpression": (
            "SET last_activity_at = :at, in_flight.#attempt = :busy_until, #ttl = :ttl"
            " ADD turns :one"
        ),
        "ConditionExpression": (
            f"last_activity_at > :cutoff AND last_activity_at <= :at{within_caps}"
        ),
        "ExpressionAttributeNames": {"#attempt": attempt.attempt_id, "#ttl": "ttl"},
        "ExpressionAttributeValues": {
            ":cutoff": instant_value(activity_cutoff(attempt.at)),
            ":at": instant_value(attempt.at),
            ":busy_until": instant_value(attempt.busy_until),
            ":ttl": epoch_value(attempt.at + INACTIVITY_LIMIT),
            **caps,
        },
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def join_busier_session(table: str, attempt: Attempt, session_id: str) -> dict[str, Any]:
    """Build the update that joins a session whose last activity is later than this message.

    Messages of one conversation that overtake each other, and clocks that differ by milliseconds,
    lead here.
    """
    within_caps, caps = _within(attempt)
    return {
        "TableName": table,
        "Key": head_key(attempt.conversation),
        "UpdateExpression": "SET in_flight.#attempt = :busy_until ADD turns :one",
        "ConditionExpression": f"session_id = :session AND last_activity_at > :at{within_caps}",
        "ExpressionAttributeNames": {"#attempt": attempt.attempt_id},
        "ExpressionAttributeValues": {
            ":session": string(session_id),
            ":at": instant_value(attempt.at),
            ":busy_until": instant_value(attempt.busy_until),
            **caps,
        },
        "ReturnValues": "ALL_NEW",
    }


def _within(attempt: Attempt) -> tuple[str, dict[str, Any]]:
    """Return what else a session must fulfil that an attempt may join once, with its values."""
    condition, values = " AND attribute_not_exists(in_flight.#attempt)", {":one": number(1)}
    if attempt.managed:
        condition += " AND managed_until > :at"
    if attempt.caps.turns is not None:
        condition += " AND (attribute_not_exists(turns) OR turns < :turn_cap)"
        values[":turn_cap"] = number(attempt.caps.turns)
    if attempt.caps.tokens is not None:
        condition += " AND (attribute_not_exists(tokens_used) OR tokens_used < :token_cap)"
        values[":token_cap"] = number(attempt.caps.tokens)
    return condition, values


def put_head(table: str, session: Session) -> dict[str, Any]:
    """Put a new session, unless one is alive (S3) or an ended one is still held (S5)."""
    conversation = session.conversation
    item = {
        **head_key(conversation),
        "session_id": string(session.session_id),
        "customer_id": string(conversation.customer_id),
        "agent": string(conversation.agent),
        "conversation_id": string(conversation.conversation_id),
        "period": string(session.period.name),
        "started_at": instant_value(session.started_at),
        "last_activity_at": instant_value(session.last_activity_at),
        "in_flight": _in_flight_value(session),
        "managed": flag(session.managed),
        "turns": number(session.turns),
        "held_in": held_partition(conversation.customer_id, session.period),
        "ttl": epoch_value(session.ends_at),
    }
    if session.managed_until is not None:
        item["managed_until"] = instant_value(session.managed_until)
    return {
        "Put": {
            "TableName": table,
            "Item": item,
            "ConditionExpression": (
                "attribute_not_exists(pk)"
                " OR (last_activity_at <= :cutoff AND attribute_exists(processed_at))"
            ),
            "ExpressionAttributeValues": {
                ":cutoff": instant_value(activity_cutoff(session.started_at))
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def put_record(table: str, session: Session) -> dict[str, Any]:
    """Put the record of a start, once: a start that was released is never counted again."""
    conversation = session.conversation
    return {
        "Put": {
            "TableName": table,
            "Item": {
                **record_key(conversation.customer_id, session.period, session.session_id),
                "agent": string(conversation.agent),
                "conversation_id": string(conversation.conversation_id),
                "started_at": instant_value(session.started_at),
                "managed": flag(session.managed),
                "ttl": epoch_value(session.period.end + RECORD_RETENTION),
            },
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    }


def settle_head(table: str, settlement: Settlement, *, moves_activity: bool) -> dict[str, Any]:
    """Record that an attempt's message was processed, once.

    Delivering the answer is activity (S2), and from the first one on the session is billed (S5).
    Messages and tokens are added up on the head by the way they went, where the table's stream
    sees each change. Which route is one too many is decided from the session as it was joined.

    Parameters
    ----------
    moves_activity
        Whether the delivery is the latest activity of the session.
    """
    tokens = settlement.tokens
    route = settlement.route.within(settlement.session.said)
    sums = encode_talk(route, Talk(1, tokens.input_tokens, tokens.output_tokens))
    sum_names, sum_values, pairs = named(sums)
    sets = [
        "processed_at = if_not_exists(processed_at, :at)",
        f"{OPENED_BY} = if_not_exists({OPENED_BY}, :route)",
    ]
    condition = "session_id = :session AND attribute_exists(in_flight.#attempt)"
    names = {"#attempt": settlement.attempt_id, **sum_names}
    values: dict[str, Any] = {
        ":session": string(settlement.session.session_id),
        ":at": instant_value(settlement.at),
        ":route": opened_by_value(route),
        **sum_values,
        ":tokens": number(settlement.tokens.total_tokens),
    }
    if moves_activity:
        sets += ["last_activity_at = :at", "#ttl = :ttl"]
        condition += " AND last_activity_at <= :at"
        names["#ttl"] = "ttl"
        values[":ttl"] = epoch_value(settlement.at + INACTIVITY_LIMIT)
    return {
        "TableName": table,
        "Key": head_key(settlement.session.conversation),
        "UpdateExpression": (
            f"SET {', '.join(sets)}"
            f" ADD tokens_used :tokens, {', '.join(f'{name} {value}' for name, value in pairs)}"
            " REMOVE in_flight.#attempt, held_in"
        ),
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def put_turn(table: str, turn: Turn) -> dict[str, Any]:
    """Keep one exchange of a conversation that the server keeps."""
    return {
        "Put": {
            "TableName": table,
            "Item": {
                "pk": string(f"SESSION#{turn.session_id}"),
                "sk": string(f"TURN#{encode_instant(turn.at)}#{turn.attempt_id}"),
                "at": instant_value(turn.at),
                "attempt_id": string(turn.attempt_id),
                "messages": document_value([encode_message(m) for m in turn.messages]),
                "ttl": epoch_value(turn.at + TRANSCRIPT_MEMORY),
            },
        }
    }


def leave_session(table: str, conversation: Conversation, attempt_id: str) -> dict[str, Any]:
    """Take an attempt out of flight: it was no turn."""
    return {
        "TableName": table,
        "Key": head_key(conversation),
        "UpdateExpression": "REMOVE in_flight.#attempt ADD turns :minus_one",
        "ConditionExpression": "attribute_exists(in_flight.#attempt)",
        "ExpressionAttributeNames": {"#attempt": attempt_id},
        "ExpressionAttributeValues": {":minus_one": number(-1)},
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def delete_held_head(table: str, session: Session) -> dict[str, Any]:
    """Delete a head that is still exactly as it was judged to be releasable (S5)."""
    return {
        "Delete": {
            "TableName": table,
            "Key": head_key(session.conversation),
            "ConditionExpression": (
                "session_id = :session AND attribute_not_exists(processed_at)"
                " AND in_flight = :in_flight"
            ),
            "ExpressionAttributeValues": {
                ":session": string(session.session_id),
                ":in_flight": _in_flight_value(session),
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def release_record(table: str, session: Session, at: datetime) -> dict[str, Any]:
    """Mark a record released, once: what makes taking a session back safe to repeat."""
    return {
        "Update": {
            "TableName": table,
            "Key": record_key(session.conversation.customer_id, session.period, session.session_id),
            "UpdateExpression": "SET released_at = :at",
            "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(released_at)",
            "ExpressionAttributeValues": {":at": instant_value(at)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def grant_managed(table: str, session: Session, until: Period) -> dict[str, Any]:
    """Let a session use managed models to the end of a period."""
    return {
        "Update": {
            "TableName": table,
            "Key": head_key(session.conversation),
            "UpdateExpression": "SET managed_until = :end",
            "ConditionExpression": (
                "session_id = :session"
                " AND (attribute_not_exists(managed_until) OR managed_until <= :end)"
            ),
            "ExpressionAttributeValues": {
                ":session": string(session.session_id),
                ":end": instant_value(until.end),
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


# --- the store -----------------------------------------------------------------------------


class DynamoDBSessionStore:
    """`flowstack_core.services.ports.sessions.SessionStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, sessions_table: str, usage_table: str) -> None:
        self._client = client
        self._table = sessions_table
        self._usage_table = usage_table

    def continue_session(self, attempt: Attempt) -> ContinueOutcome:
        """Admit the attempt to the conversation's live session: one conditional update."""
        try:
            with contention():
                updated = self._client.update_item(**join_session(self._table, attempt))
        except ClientError as error:
            return self._continue_otherwise(attempt, _failed_head(error))
        return Admitted(decode_session(updated["Attributes"]), started=False)

    def _continue_otherwise(self, attempt: Attempt, head: Session | None) -> ContinueOutcome:
        if head is None:
            return NoLiveSession()
        if attempt.attempt_id in head.in_flight:  # joined before, by this very request
            return Admitted(head, started=False)
        if not head.alive(attempt.at):
            return NoLiveSession(head if head.held else None)
        if attempt.caps.reached_by(head) is not None:
            return SessionCapped(head)
        if attempt.managed and not head.allows_managed(attempt.at):
            return ManagedNotGranted(head)
        request = join_busier_session(self._table, attempt, head.session_id)
        try:
            with contention():
                updated = self._client.update_item(**request)
        except ClientError as error:
            _failed_head(error)
            raise StoreContentionError("the session moved on") from error
        return Admitted(decode_session(updated["Attributes"]), started=False)

    def start_session(self, attempt: Attempt, session_id: str, period: Period) -> StartOutcome:
        """Start a session and count it, both or neither: one transaction."""
        customer_id = attempt.conversation.customer_id
        session = Session(
            session_id=session_id,
            conversation=attempt.conversation,
            period=period,
            started_at=attempt.at,
            last_activity_at=attempt.at,
            managed=attempt.managed,
            managed_until=period.end if attempt.managed else None,
            in_flight={attempt.attempt_id: attempt.busy_until},
        )
        failed = transact(
            self._client,
            put_head(self._table, session),
            put_record(self._table, session),
            count_start(self._usage_table, customer_id, period, managed=attempt.managed),
        )
        if failed is None:
            return Admitted(session, started=True)
        head, record, counter = failed
        if head is not None:
            return _not_started(decode_session(head), attempt, session_id)
        if record is not None:  # started before by this very request, and released since
            return NoLiveSession()
        return _not_counted(counter, attempt)

    def grant_managed(self, session: Session, until: Period) -> bool:
        """Let a live session use managed models to the end of ``until``, if the quota says so."""
        failed = transact(
            self._client,
            grant_managed(self._table, session, until),
            managed_included(self._usage_table, session.conversation.customer_id, until),
        )
        if failed is None:
            return True
        head, counter = failed
        if counter is not None or not head:
            return False
        found = decode_session(head)
        return found.session_id == session.session_id and found.allows_managed(until.start)

    def settle(self, settlement: Settlement) -> bool:
        """Record that a message was processed, with its turn and its answer, all or nothing."""
        settled = self._settle(settlement, moves_activity=True)
        if settled is None:
            settled = self._settle(settlement, moves_activity=False)
        if settled is None:
            raise StoreContentionError("the session moved on")
        return settled

    def _settle(self, settlement: Settlement, *, moves_activity: bool) -> bool | None:
        """Try one way of settling; ``None`` where the other one is the right one."""
        update = settle_head(self._table, settlement, moves_activity=moves_activity)
        others = _settled_along(self._table, settlement)
        failed: Sequence[Item | None] | None = None
        if others:
            failed = transact(self._client, {"Update": update}, *others)
            if failed is None:
                return True
            if failed[0] is None:  # the claim, or the deferred request, is no longer ours
                return False
            head = decode_session(failed[0]) if failed[0] else None
        else:
            try:
                with contention():
                    self._client.update_item(**update)
            except ClientError as error:
                head = _failed_head(error)
            else:
                return True
        if head is None or head.session_id != settlement.session.session_id:
            return False
        if settlement.attempt_id in head.in_flight:
            return None
        # Not in flight any more: settled before, by this very request. A deferred one tells, too,
        # if it was given up meanwhile.
        run = settlement.run
        return run is None or (failed is not None and ended_by(failed[-1], run, "succeeded"))

    def abandon(self, conversation: Conversation, attempt_id: str) -> Session | None:
        """Take the attempt out of flight; return the conversation's session as it now is."""
        try:
            with contention():
                updated = self._client.update_item(
                    **leave_session(self._table, conversation, attempt_id)
                )
        except ClientError as error:
            return _failed_head(error)
        return decode_session(updated["Attributes"])

    def release(self, session: Session, at: datetime) -> bool:
        """Take back a held session: head, record and count in one transaction."""
        judged, late = session, False
        for _ in range(_RELEASE_ATTEMPTS):
            if not judged.releasable(at):
                return False
            failed = transact(
                self._client,
                delete_held_head(self._table, judged),
                release_record(self._table, judged, at),
                *self._uncount(judged, late=late),
            )
            if failed is None:
                return True
            head, record, counter = failed[:3]
            if record is not None:  # released before
                return bool(record)
            if head is None and _closed(counter):
                late = True
                continue
            if not head:
                return False
            judged = decode_session(head)
            if judged.session_id != session.session_id:
                return False
        raise StoreContentionError("the session keeps changing")

    def release_expired(self, session: Session, at: datetime) -> bool:
        """Take back a session by the last image of its item, which expiry has deleted."""
        if not session.held:
            return False
        for late in (False, True):
            failed = transact(
                self._client,
                release_record(self._table, session, at),
                *self._uncount(session, late=late),
            )
            if failed is None:
                return True
            record, counter = failed[:2]
            if record is not None or not _closed(counter):
                return bool(record)
        return False

    def _uncount(self, session: Session, *, late: bool) -> list[dict[str, Any]]:
        """Take one session back from its counter; of a closed period also by an adjustment."""
        counted = count_release(self._usage_table, session, late=late)
        return [counted, adjust(self._usage_table, session)] if late else [counted]

    def claim(self, claim: Claim, now: datetime) -> Claim:
        """Take the idempotency key; return the claim that holds it now, ours or another's."""
        try:
            with contention():
                self._client.put_item(**put_claim(self._table, claim, now))
        except ClientError as error:
            holder = failed_condition(error)
            if holder is None:
                raise
            return decode_claim(holder)
        return claim

    def drop_claim(self, claim: Claim) -> None:
        """Give up our unanswered claim, so that a retry can run at once."""
        try:
            with contention():
                self._client.delete_item(**delete_claim(self._table, claim))
        except ClientError as error:
            if failed_condition(error) is None:
                raise

    def transcript(self, session: Session, limit_tokens: int) -> Sequence[Turn]:
        """Return the session's turns, oldest first, back to its memory or ``limit_tokens``."""
        turns: list[Turn] = []
        tokens = 0
        for item in query(
            self._client,
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND sk > :since",
            ExpressionAttributeValues={
                ":pk": string(f"SESSION#{session.session_id}"),
                ":since": string(
                    f"TURN#{encode_instant(session.last_activity_at - TRANSCRIPT_MEMORY)}"
                ),
            },
            ScanIndexForward=False,
            ConsistentRead=True,
        ):
            turn = Turn(
                session_id=session.session_id,
                at=read_instant(item, "at"),
                attempt_id=item["attempt_id"]["S"],
                messages=tuple(decode_message(m) for m in read_document(item["messages"])),
            )
            turns.append(turn)
            tokens += turn_tokens(turn.messages)
            if tokens > limit_tokens:
                break
        return turns[::-1]

    def held_sessions(self, customer_id: str, period: Period) -> Sequence[Session]:
        """Return the sessions that occupy the quota with nothing processed.

        The index follows the table with a short delay, so a session may be missing or may have
        been processed since; releasing one asks the table itself.
        """
        return [
            decode_session(item)
            for item in query(
                self._client,
                TableName=self._table,
                IndexName=HELD_INDEX,
                KeyConditionExpression="held_in = :held_in",
                ExpressionAttributeValues={":held_in": held_partition(customer_id, period)},
            )
        ]

    def records(self, customer_id: str, period: Period) -> Iterator[SessionRecord]:
        """Yield the records of all sessions started in the period."""
        for item in query(
            self._client,
            TableName=self._table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": string(f"RECORDS#{customer_id}#{period.name}")},
            ConsistentRead=True,
        ):
            yield decode_record(item, customer_id, period)


def _closed(counter: Item | None) -> bool:
    """Whether a count failed because its period is closed."""
    return counter is not None and "closed_at" in counter


def _settled_along(table: str, settlement: Settlement) -> list[dict[str, Any]]:
    """Build what is written together with a settled head: turn, claim, deferred request."""
    parts = []
    if settlement.turn is not None:
        parts.append(put_turn(table, settlement.turn))
    if settlement.claim is not None and settlement.answer is not None:
        parts.append(answer_claim(table, settlement.claim, settlement.answer))
    if settlement.run is not None and settlement.answer is not None:
        ended = end_run(table, settlement.run, "succeeded", "answer", settlement.answer)
        parts.append({"Update": ended})
    return parts


def _failed_head(error: ClientError) -> Session | None:
    """Return the head on which a condition failed, ``None`` if there is none."""
    item = failed_condition(error)
    if item is None:
        raise error
    return decode_session(item) if item else None


def _not_started(head: Session, attempt: Attempt, session_id: str) -> StartOutcome:
    """Tell why the head was not replaced."""
    if head.session_id == session_id:
        return Admitted(head, started=True)
    if head.alive(attempt.at):
        return SessionAlive()
    return NoLiveSession(head if head.held else None)


def _not_counted(counter: Item | None, attempt: Attempt) -> StartOutcome:
    """Tell why the counter did not count."""
    if not counter:
        return PeriodNotOpen()
    usage = decode_usage(counter)
    if usage.closed_at is not None:
        return PeriodClosed()
    if attempt.managed and not usage.managed_models:
        return ManagedNotIncluded(usage)
    if usage.budget_block is not None and not usage.exhausted:
        return BudgetReached(usage.period, usage.budget_block)
    return LimitReached(usage)
