"""Counts what each kind of message costs in DynamoDB, from the requests the function makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from flowstack_core.domain.plans import Tier
from flowstack_core.domain.sessions import Conversation
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.http.requests import DEFAULT_MODEL
from tests.bench.capacity import Units
from tests.bench.conversation_function import Function, conversation_function, load_handler
from tests.bench.customers import add_held_sessions, create_customer
from tests.bench.metering import Request
from tests.bench.naive_meter import NaiveMeter
from tests.bench.vault import VaultBench, VaultCosts
from tests.support.emulator import REGION

REPEATS = 3
MANY_TURNS = 50
MANY_HELD = 200

_AGENT = "bench-agent"
_ANSWERED = "200"
_MESSAGE = (
    "Our order 48213 was to arrive on Tuesday and has not. Could you find out where it is, and"
    " whether it can still be delivered before the weekend? Otherwise we would like to cancel."
)
_names = count(1)


@dataclass(frozen=True, slots=True)
class Case:
    """What one kind of message cost; every repetition cost the same.

    Attributes
    ----------
    outcome
        The HTTP status, or a word where there is no HTTP.
    """

    name: str
    outcome: str
    requests: tuple[Request, ...]

    def side(self, *, after_model: bool) -> tuple[Request, ...]:
        """Return the requests before the model was called, or after."""
        return tuple(each for each in self.requests if each.after_model is after_model)


@dataclass(frozen=True, slots=True)
class HotPath:
    """All cases, by the table they belong to, and the vault beside them."""

    messages: tuple[Case, ...]
    naive: tuple[Case, ...]
    lengths: tuple[Case, ...]
    vault: VaultCosts


class NotRepeatableError(Exception):
    """The same message cost something else the next time: the figures would mean nothing."""


def units_of(requests: Sequence[Request]) -> Units:
    """Return the capacity units of some requests together."""
    return sum((request.units for request in requests), Units())


def measure_hot_path(report: Callable[[str], None]) -> HotPath:
    """Run every case against an emulator of its own."""
    with conversation_function() as function:
        cases = _Cases(function)
        report("messages")
        messages = cases.messages()
        naive = cases.naive()
        report("long conversations and held sessions")
        lengths = cases.lengths()
        report("vault")
        vault = VaultBench(load_handler("vault"), function.database, function.meter).measure()
        return HotPath(messages, naive, lengths, vault)


class _Cases:
    def __init__(self, function: Function) -> None:
        self._function = function

    def messages(self) -> tuple[Case, ...]:
        """Measure each kind of message, and each kind of refusal."""
        full = create_customer(self._function.database, Tier.PROFESSIONAL, 1)
        running = self._begin(full, "/invoke")
        return (
            self._start("start, `/invoke`", self._opened(), "/invoke"),
            self._start("start, `/chat`", self._opened(), "/chat"),
            self._follow_up("follow-up, `/invoke`", self._opened(), "/invoke"),
            self._follow_up("follow-up, `/chat`", self._opened(), "/chat"),
            self._start("start, `/invoke`, Idempotency-Key", self._opened(), "/invoke", keyed=True),
            self._follow_up(
                "follow-up, `/invoke`, Idempotency-Key", self._opened(), "/invoke", keyed=True
            ),
            self._replay(),
            self._refused_at_limit("refusal at the limit", full),
            self._follow_up("follow-up at the limit, `/invoke`", full, "/invoke", running),
            self._managed_refused(),
            self._first_of_period(),
        )

    def naive(self) -> tuple[Case, ...]:
        """Measure the comparison, through a client that the same meter sees."""
        client = self._function.observed_session.client(
            "dynamodb", endpoint_url=self._function.endpoint_url, region_name=REGION
        )
        meter = NaiveMeter(client, "sessions", "usage")
        customer_id = "cus_naive"
        limit = 100
        meter.admit(customer_id, "first", limit)

        def start() -> str:
            return _admitted(meter.admit(customer_id, _name(), limit))

        def follow_up() -> str:
            return _admitted(meter.admit(customer_id, "first", limit))

        def refuse() -> str:
            return _admitted(meter.admit(customer_id, _name(), 0))

        return (
            self._measure("naive: start", start, "admitted"),
            self._measure("naive: follow-up", follow_up, "admitted"),
            self._measure("naive: refusal at the limit", refuse, "refused"),
        )

    def lengths(self) -> tuple[Case, ...]:
        """Measure what does grow: a transcript with its turns, a refusal with held sessions."""
        subscription = self._opened()
        names = [self._begin(subscription, "/chat").conversation_id for _ in range(REPEATS)]
        for name in names:
            for _ in range(MANY_TURNS - 1):
                self._send(subscription, "/chat", name, opening=False)
        waiting = iter(names)
        long_chat = self._measure(
            f"follow-up, `/chat`, after {MANY_TURNS} turns",
            lambda: self._send(subscription, "/chat", next(waiting), opening=False),
        )
        crowded = create_customer(self._function.database, Tier.ENTERPRISE, MANY_HELD + 1)
        conversation = self._begin(crowded, "/invoke")
        add_held_sessions(self._function.database, conversation, MANY_HELD)
        refused = self._refused_at_limit(
            f"refusal at the limit while {MANY_HELD} sessions wait for their first answer", crowded
        )
        return long_chat, refused

    def _start(
        self, name: str, subscription: Subscription, path: str, *, keyed: bool = False
    ) -> Case:
        return self._measure(
            name,
            lambda: self._send(subscription, path, _name(), opening=True, key=_key(keyed=keyed)),
        )

    def _follow_up(
        self,
        name: str,
        subscription: Subscription,
        path: str,
        conversation: Conversation | None = None,
        *,
        keyed: bool = False,
    ) -> Case:
        """Measure the second message of a conversation, of a new one each time for ``/chat``."""
        begun = [conversation or self._begin(subscription, path)]
        if path == "/chat":
            begun += [self._begin(subscription, path) for _ in range(REPEATS - 1)]
        waiting = iter(begun * REPEATS)
        return self._measure(
            name,
            lambda: self._send(
                subscription,
                path,
                next(waiting).conversation_id,
                opening=False,
                key=_key(keyed=keyed),
            ),
        )

    def _replay(self) -> Case:
        subscription, name, key = self._opened(), _name(), _name()

        def repeat() -> str:
            return self._send(subscription, "/invoke", name, opening=True, key=key)

        repeat()
        return self._measure("repeat with the same Idempotency-Key", repeat)

    def _refused_at_limit(self, name: str, subscription: Subscription) -> Case:
        return self._measure(
            name, lambda: self._send(subscription, "/invoke", _name(), opening=True), "429"
        )

    def _managed_refused(self) -> Case:
        subscription = create_customer(self._function.database, Tier.FREE)

        def ask() -> str:
            return self._send(subscription, "/invoke", _name(), opening=True)

        ask()
        return self._measure("refusal of a managed model on free", ask, "403")

    def _first_of_period(self) -> Case:
        unopened = iter([self._customer() for _ in range(REPEATS)])
        return self._measure(
            "first start of a period, `/invoke`",
            lambda: self._send(next(unopened), "/invoke", _name(), opening=True),
        )

    def _customer(self) -> Subscription:
        return create_customer(self._function.database, Tier.PROFESSIONAL)

    def _opened(self) -> Subscription:
        """Return a customer whose period is open and has room."""
        subscription = self._customer()
        self._begin(subscription, "/invoke")
        return subscription

    def _begin(self, subscription: Subscription, path: str) -> Conversation:
        """Start a conversation without measuring it."""
        name = _name()
        outcome = self._send(subscription, path, name, opening=True)
        if outcome != _ANSWERED:
            raise RuntimeError(f"{path} answered {outcome}")
        return Conversation(subscription.customer_id, _AGENT, name)

    def _send(
        self,
        subscription: Subscription,
        path: str,
        conversation_id: str,
        *,
        opening: bool,
        key: str | None = None,
    ) -> str:
        """Send a message; return the HTTP status."""
        body: dict[str, Any] = {"agent": _AGENT, "conversation_id": conversation_id}
        if path == "/chat":
            body["message"] = _MESSAGE
        else:
            body |= {"provider": "bedrock", "model": DEFAULT_MODEL}
            said = [_MESSAGE] if opening else [_MESSAGE, "It left the depot.", "Then when?"]
            body["messages"] = [
                {"role": ("user", "assistant")[turn % 2], "content": text}
                for turn, text in enumerate(said)
            ]
        return str(self._function.send(path, subscription, body, key).status)

    def _measure(self, name: str, act: Callable[[], str], expected: str = _ANSWERED) -> Case:
        """Do something several times and see what it costs.

        Raises
        ------
        NotRepeatableError
            The outcome or the cost was not the same each time.
        """
        found = []
        for _ in range(REPEATS):
            with self._function.meter.recording() as requests:
                outcome = act()
            found.append(Case(name, outcome, tuple(requests)))
        first, *others = found
        if first.outcome != expected or any(other != first for other in others):
            raise NotRepeatableError(f"{name}: {found}")
        return first


def _name() -> str:
    return f"conversation-{next(_names):06d}"


def _key(*, keyed: bool) -> str | None:
    return f"order-48213-{next(_names):06d}" if keyed else None


def _admitted(admitted: bool) -> str:
    return "admitted" if admitted else "refused"
