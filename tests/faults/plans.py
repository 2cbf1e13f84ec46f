"""Plans and months: what operators do, and how periods end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore
from flowstack_core.adapters.dynamodb_closing import DynamoDBClosingStore, decode_statement
from flowstack_core.adapters.dynamodb_month_end import DynamoDBMonthEndStore
from flowstack_core.adapters.dynamodb_sessions import DynamoDBSessionStore
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore, decode_usage
from flowstack_core.adapters.sqs_month_end import SQSMonthEndQueue
from flowstack_core.domain.errors import AccountClosedError, NotFoundError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.events.batches import LambdaFunction
from flowstack_core.events.month_end import ENSURE, closes, month_end
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.month_end import CloseWorker, MonthEndService
from flowstack_core.services.subscriptions import SubscriptionService, move_to
from tests.faults.consumers import Consumer
from tests.faults.stage import Stage
from tests.faults.streams import Item

PLANS = "plans"
CLOSE = "close"
PERIODS = (Period(2026, 11), Period(2026, 12), Period(2027, 1))
TIERS = ((Tier.STARTER, 3), (Tier.PROFESSIONAL, 5), (Tier.ENTERPRISE, 8))
GONE = (AccountClosedError, NotFoundError)
"""What is said of a customer who is being erased, or was."""

_STEPS, _CLOSES, _DEAD = "https://sqs/steps", "https://sqs/closes", "https://sqs/closes-dead"
_MONTH_END_SECONDS = 120.0


class Plans:
    """An operator, and the schedule of the month end."""

    def __init__(self, stage: Stage) -> None:
        self._stage, tables, client = stage, stage.tables, stage.dynamodb
        self.store = DynamoDBAccountStore(client, tables["accounts"], tables["usage"])
        self._usage = DynamoDBUsageStore(client, tables["usage"], tables["accounts"])
        self._sessions = DynamoDBSessionStore(client, tables["sessions"], tables["usage"])
        self._closings = DynamoDBClosingStore(
            client, tables["usage"], tables["accounts"], test_clocks=False
        )
        clock, random_bytes = stage.clock, stage.chance("accounts").randbytes
        self.closing = ClosingService(self._closings, clock, stage.retrier)
        self.accounts = AccountService(
            self.store, clock, clock, random_bytes, stage.retrier, self.closing, None
        )
        self.subscriptions = SubscriptionService(
            self.store, self._usage, clock, clock, random_bytes, stage.retrier, self.closing
        )
        runs = DynamoDBMonthEndStore(client, tables["usage"])
        queue = SQSMonthEndQueue(stage.client("sqs"), _STEPS, _CLOSES, _DEAD)
        self._month_end = MonthEndService(runs, self.store, queue, clock)
        worker = CloseWorker(self.closing, runs, queue, clock)
        self.consumers = (
            Consumer(stage, CLOSE, _STEPS, self._scheduled, _MONTH_END_SECONDS),
            Consumer(stage, CLOSE, _CLOSES, lambda: closes(lambda: worker), _MONTH_END_SECONDS),
        )
        self._credited: dict[Period, int] = {}

    def begin(self) -> None:
        """Create the customer, with a key."""
        customer, _, issued = self.accounts.create_customer("op", "Ada", *TIERS[0], None)
        self._stage.customer_id = customer.customer_id
        self._stage.key_id = issued.record.key_id

    # --- what happens ------------------------------------------------------------------------

    def change_plan(self) -> None:
        """Have the operator move the customer, and repeat it until it is done."""
        stage = self._stage
        command = move_to(Terms.of(*stage.random.choice(TIERS)))
        audit_id = f"change:{stage.number()}"
        try:
            stage.deliver(
                PLANS,
                lambda: self.subscriptions.change("op", stage.customer_id, command, audit_id),
            )
        except GONE:
            return

    def credit(self) -> None:
        """Have the operator grant a session, and repeat it until it is done."""
        stage, request_id = self._stage, f"credit-{self._stage.number()}"
        try:
            period = stage.deliver(
                PLANS,
                lambda: self.accounts.credit("op", stage.customer_id, 1, "sorry", request_id),
            )
        except GONE:
            return
        self._credited[period] = self._credited.get(period, 0) + 1

    def end_month(self) -> None:
        """Have the schedule call, and deliver some of what the queues hold."""
        stage = self._stage
        stage.deliver(CLOSE, self.ensure)
        for _ in range(stage.random.choice([0, 2, 6])):
            stage.random.choice(self.consumers).deliver(stage.random)

    def ensure(self) -> None:
        """Call once, as the schedule does."""
        self._stage.call(CLOSE, self._scheduled(), ENSURE, _MONTH_END_SECONDS)

    def _scheduled(self) -> LambdaFunction:
        return month_end(lambda: self._month_end)

    def redrive(self) -> None:
        """Ask again for the customers that were given up."""
        self._month_end.redrive(100)

    # --- what is left ------------------------------------------------------------------------

    def check(self) -> dict[str, bool]:
        """Look at the counters; return each session, and whether it is counted."""
        counted: dict[str, bool] = {}
        customer_id = self._stage.customer_id
        for period in PERIODS:
            records = list(self._sessions.records(customer_id, period))
            counted.update({record.session_id: record.counted for record in records})
            usage = self._usage.period_usage(customer_id, period)
            assert usage is not None, f"{period} was closed"
            started = sum(record.counted for record in records)
            assert usage.sessions_used == started, f"{period}: counted is not started less released"
            managed = sum(record.counted and record.managed for record in records)
            assert usage.managed_sessions == managed
            assert usage.sessions_used <= usage.session_limit, "Q1"
            assert usage.credited_sessions == self._credited.get(period, 0), "credited twice"
            assert usage.closed_at is not None
            assert not self._sessions.held_sessions(customer_id, period), "an orphan is held"
        statements = self._closings.statements(customer_id, 10, None)
        assert [s.period for s in statements] == sorted(PERIODS, reverse=True), "one a period"
        self.check_statements()
        return counted

    def check_statements(self) -> None:
        """Each statement says what its counter said last, but for what is adjusted; none changes.

        That is seen of every change there was, so that it holds of who was erased, too.
        """
        written = list(self._stage.streams.changes("usage", "STATEMENT#"))
        assert all(change.before is None for change in written), "a statement changed"
        statements = [decode_statement(change.after) for change in written if change.after]
        late = Counter(self._pending_adjustments())
        for statement in statements:
            late.update(statement.adjustments)
        counters = {
            usage.period: usage for usage in map(decode_usage, self._last_images("PERIOD#"))
        }
        for statement in statements:
            usage, change = counters[statement.period], late[statement.period]
            assert statement.sessions_used + change == usage.sessions_used, "statements do not sum"
            assert statement.total_cents == usage.price_cents

    def _pending_adjustments(self) -> dict[Period, int]:
        return {
            Period.parse(name): int(value["N"])
            for found in self._last_images("ADJUSTMENTS")
            for name, value in found.items()
            if name not in {"pk", "sk"}
        }

    def _last_images(self, sort_key: str) -> Iterable[Item]:
        """Return the customer's items of a kind as they were seen last, deleted ones among them."""
        last = {
            change.place: change.after or change.before or {}
            for change in self._stage.streams.changes("usage", sort_key)
        }
        return last.values()
