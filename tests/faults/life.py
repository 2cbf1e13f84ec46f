"""One customer's life on the real services and adapters, while requests to AWS fail by chance.

A life is a random story of messages that are answered at once or later, retries, plan changes,
payments, credits, month ends, documents, credentials, ceilings, webhooks, exports, what the streams
make of all that, and sometimes an erasure in the end. Any request to AWS may be throttled, break
before or after it took effect, lose its answer, answer late, or be the last thing that its process
does; between any two of them somebody else may do something else. Callers behave as callers do:
they send a request again under its idempotency key, queues and streams deliver again.

When the story is told, the faults end, everything that waits is delivered, and `Life.check` looks
at what is left. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

from tests.faults import (
    alerts,
    chat,
    credentials,
    documents,
    later,
    payments,
    plans,
    rights,
    webhooks,
)
from tests.faults.alerts import Alerts
from tests.faults.chat import Chat
from tests.faults.consumers import Consumer
from tests.faults.credentials import Credentials
from tests.faults.documents import Documents
from tests.faults.invariants import check_secrets, check_versions
from tests.faults.later import Later
from tests.faults.payments import Payments
from tests.faults.plans import PERIODS, Plans
from tests.faults.rights import Rights
from tests.faults.stage import Stage
from tests.faults.webhooks import Webhooks

Happening = Callable[[], None]

WORKFLOWS = (
    *(chat.WORKFLOW, later.WORKFLOW, plans.PLANS, plans.CLOSE),
    *(alerts.ROLLUPS, alerts.ALERTS, alerts.CEILINGS),
    *(documents.WORKFLOW, credentials.WORKFLOW, webhooks.WORKFLOW, payments.WORKFLOW),
    *(rights.EXPORTS, rights.ERASURES),
)
RATES = (0.01, 0.05, 0.15, 0.25)
CROWDS = (0.0, 0.02, 0.1)
TALKS = (3, 12, 40)
"""How often a customer talks, while it does each other thing once or a few times.

The more it talks, the sooner it comes to its limit; the less, the more comes of all the rest.
"""
IMPATIENCE, RIVALRY = 0.2, 0.3
"""How often what comes between is the caller's own second try, or somebody who does the same."""

GAPS = (
    *(timedelta(milliseconds=1), timedelta(seconds=20), timedelta(minutes=10)),
    *(timedelta(minutes=29, seconds=59), timedelta(minutes=30), timedelta(hours=3)),
    *(timedelta(hours=20), timedelta(days=3)),
)
_TOLD_OF_A_FAILURE = 200


class Life:
    """A customer, and everything it deals with.

    Attributes
    ----------
    leaves
        Whether it is erased in the end.
    """

    def __init__(self, url: str, seed: int) -> None:
        chance = Random(f"life {seed}")
        self.rate, self.crowd = chance.choice(RATES), chance.choice(CROWDS)
        self.pays, self.leaves = chance.random() < 0.5, chance.random() < 0.4
        self._talks = chance.choice(TALKS)
        self.stage = Stage(url, seed, self.rate, self.crowd)
        self.credentials = Credentials(self.stage)
        self.chat = Chat(self.stage, self.credentials)
        self.later = Later(self.stage, self.chat)
        self.plans = Plans(self.stage)
        self.documents = Documents(self.stage)
        self.webhooks = Webhooks(self.stage)
        self.alerts = Alerts(self.stage, self.webhooks.queue)
        self.payments = Payments(self.stage, self.plans)
        self.rights = Rights(self.stage, self.plans)
        for part in (self.plans, self.alerts, self.documents, self.webhooks):
            part.begin()
        self._going_on: Happening = self.wait
        self.stage.faults.meanwhile = self._interrupt

    # --- the story ---------------------------------------------------------------------------

    @property
    def _of_the_customer(self) -> tuple[Happening, ...]:
        return (
            *([self.chat.send] * self._talks),
            *(self.chat.repeat, self.later.send, self.later.send, self.later.repeat),
            *(self.documents.keep, self.documents.keep, self.documents.count_up),
            *(self.credentials.keep, self.credentials.keep, self.credentials.keep),
            *(self.alerts.change_settings, self.alerts.limit_itself, self.alerts.look_at_budget),
            *(self.webhooks.change, self.webhooks.deliver_again),
        )

    @property
    def _of_others(self) -> tuple[Happening, ...]:
        payment = (self.payments.say, *[self.payments.deliver] * 4)
        return (
            *(self.alerts.stream, self.alerts.stream, self.alerts.stream),
            *(self.webhooks.work, self.webhooks.work, self.chat.tidy),
            *(self.later.work, self.later.work),
            *(self.plans.credit, self.plans.end_month, self.rights.work, self.rights.work),
            *(payment if self.pays else (self.plans.change_plan,)),
        )

    def tell(self, steps: int) -> None:
        """Live through so many steps."""
        happenings = (
            *self._of_the_customer,
            *self._of_others,
            *(self.wait, self.wait, self.wait, self.rights.export, self.rights.export),
        )
        for _ in range(steps):
            self._turn_to(self.stage.random.choice(happenings))
        for _ in range(steps // 2):
            self._turn_to(self.stage.random.choice(self._of_others))

    def wait(self) -> None:
        """Let time pass."""
        self.stage.wait(self.stage.random.choice(GAPS).total_seconds())

    def _interrupt(self) -> None:
        chance = self.stage.random
        who = chance.random()
        if who < IMPATIENCE:
            self._happen(self.stage.lose_patience)
        elif who < IMPATIENCE + RIVALRY:
            self._happen(self._going_on)
        else:
            self._happen(chance.choice((*self._of_the_customer, *self._of_others)))

    def _turn_to(self, happening: Happening) -> None:
        self._going_on = happening
        self._happen(happening)

    def _happen(self, happening: Happening) -> None:
        shut_at = self.rights.shut_at
        now = self.stage.clock.now()
        shut = shut_at is not None and now >= shut_at
        if shut and happening in (*self._of_the_customer, self.stage.lose_patience):
            return
        self.stage.faults.trace.append(f"{now:%m-%d %H:%M:%S} {happening.__qualname__}")
        happening()
        self.look()

    def look(self) -> None:
        """Make sure that no rule was seen broken so far."""
        assert not self.stage.violations, self.stage.violations

    # --- what is left ------------------------------------------------------------------------

    def settle(self) -> None:
        """End the faults, and let everything happen that is bound to happen."""
        stage = self.stage
        stage.faults.calm()
        stage.wait(timedelta(hours=2).total_seconds())
        self.chat.tidy()
        self.payments.deliver_all()
        stage.clock.move_to(max(stage.clock.now(), PERIODS[-1].end + timedelta(hours=3)))
        for _ in range(6):
            self.plans.redrive()
            self.plans.ensure()
            self._run_dry()
            stage.wait(timedelta(hours=2).total_seconds())

    def _run_dry(self) -> None:
        consumers: list[Consumer] = [
            *self.plans.consumers,
            self.webhooks.consumer,
            self.rights.consumer,
            self.later.consumer,
        ]
        self.alerts.run_dry()
        while any(consumer.waiting for consumer in consumers):
            for consumer in consumers:
                consumer.run_dry(self.stage.random, rounds=2_000)
            self.alerts.run_dry()

    def replay(self) -> None:
        """Deliver everything that was delivered once more, in any order."""
        self.alerts.replay()
        self.payments.deliver_all()
        self._run_dry()

    def check(self) -> None:
        """Look at everything that must be true of every life."""
        self.look()
        counted = self.plans.check()
        billed = {session_id for session_id, is_billed in counted.items() if is_billed}
        for key, document in self.chat.answers.items():
            assert document["session"]["id"] in billed, f"{key} was answered and not billed"
        assert len(billed) <= len(self.chat.models.answered), "S5: billed for nothing"
        self.later.check(billed)
        self.documents.check()
        self.credentials.check()
        self.alerts.check(billed)
        self.webhooks.check(self.alerts.news())
        if self.pays:
            self.payments.check()
        self.rights.check()
        check_versions(self.stage)
        check_secrets(self.stage, [*self.credentials.secrets, *self.webhooks.secrets])

    def leave(self, steps: int) -> None:
        """Have the customer erased, while everybody else goes on for so many steps."""
        faults = self.stage.faults
        faults.rate, faults.crowd = self.rate, self.crowd
        self.rights.erase()
        happenings = (
            *self._of_the_customer,
            *self._of_others,
            *(self.rights.work, self.rights.work, self.alerts.replay, self.wait, self.wait),
        )
        for _ in range(steps):
            self._turn_to(self.stage.random.choice(happenings))
        faults.calm()
        self._run_dry()
        self.alerts.replay()
        self.payments.deliver_all()
        self._run_dry()
        self.look()
        self.plans.check_statements()
        self.rights.check_erased()


def live(url: str, seed: int, steps: int) -> Life:
    """Live one life; return it when everything has settled.

    Raises
    ------
    AssertionError
        Something is not true that must be true of every life; the notes tell the story.
    """
    life = Life(url, seed)
    try:
        life.tell(steps)
        life.settle()
        life.check()
        life.replay()
        life.check()
        if life.leaves:
            life.leave(steps)
    except BaseException as error:
        faults = life.stage.faults
        error.add_note("\n".join(faults.trace[-_TOLD_OF_A_FAILURE:]))
        error.add_note(f"seed {seed}, and again: make faults FIRST_LIFE={seed} LIVES=1")
        raise
    return life
