"""Webhooks, as their customers set them up and look after them.

A signing secret exists in the answer that makes it, sealed in the table, and nowhere else. What is
to be delivered, or delivered again, is only asked for here: a message of the queue says it all, so
nothing is left half done by a request that is cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from flowstack_core.domain.errors import ConflictError, NotFoundError, RateLimitedError
from flowstack_core.domain.periods import optional_instant
from flowstack_core.domain.webhooks import (
    MOST_SECRETS,
    PACE,
    Delivery,
    SealedSecret,
    Step,
    WebhookEndpoint,
    WebhookEvent,
    new_secret,
    trial_event,
)
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.ports.surroundings import Clock, TimeBudget
from flowstack_core.services.ports.webhooks import (
    DeliveryLog,
    DeliveryPage,
    WebhookEndpoints,
    WebhookQueue,
    WebhookSecrets,
)
from flowstack_core.services.retrying import Retrier

Result = TypeVar("Result")

_MAX_CHANGE_ATTEMPTS = 5
_DELIVERY_RESERVE_SECONDS = 0.3
_AT_ONCE = timedelta(0)


class WebhookService:
    """Sets webhooks and shows their deliveries. An ``actor`` is who is acting: the key's id.

    Parameters
    ----------
    check_url
        Raises `InvalidRequestError` where events cannot be sent.
    clock
        The system's: deliveries take place in its time.
    """

    def __init__(
        self,
        endpoints: WebhookEndpoints,
        log: DeliveryLog,
        queue: WebhookQueue,
        secrets: WebhookSecrets,
        check_url: Callable[[str], None],
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        retrier: Retrier,
    ) -> None:
        self._endpoints = endpoints
        self._log = log
        self._queue = queue
        self._secrets = secrets
        self._check_url = check_url
        self._clock = clock
        self._random_bytes = random_bytes
        self._audit = Auditor(clock, random_bytes).record
        self._retrier = retrier

    # --- endpoints --------------------------------------------------------------------------

    def find(self, customer_id: str, budget: TimeBudget) -> WebhookEndpoint | None:
        """Return the customer's webhook, if there is one."""
        return self._retry(lambda: self._endpoints.endpoint(customer_id), budget)

    def endpoint(self, customer_id: str, budget: TimeBudget) -> WebhookEndpoint:
        """Return the customer's webhook.

        Raises
        ------
        NotFoundError
            There is none.
        """
        found = self.find(customer_id, budget)
        if found is None:
            raise NotFoundError(
                "There is no webhook.", details={"hint": "Set one with PUT /alerts/webhook."}
            )
        return found

    def set_url(
        self, actor: str, customer_id: str, url: str, budget: TimeBudget
    ) -> tuple[WebhookEndpoint, str | None]:
        """Have the customer told at a URL; return its secret too, if one was made.

        A webhook that was there keeps its secrets, and is switched on again.

        Raises
        ------
        InvalidRequestError
            Events cannot be sent there.
        """
        self._check_url(url)
        secret: str | None = None
        sealed = b""
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            before, now = self.find(customer_id, budget), self._clock.now()
            if before is None:
                if secret is None:
                    secret, sealed = self._new_secret(customer_id, budget)
                after = WebhookEndpoint(customer_id, url, (SealedSecret(sealed),), now, now)
                if self._replace(actor, "webhook.set", before, after, budget):
                    return after, secret
            elif before.url == url and before.switched_off_at is None:
                return before, None
            else:
                after = before.directed_to(url, now)
                if self._replace(actor, "webhook.change", before, after, budget):
                    return after, None
        raise _busy()

    def rotate(
        self, actor: str, customer_id: str, budget: TimeBudget
    ) -> tuple[WebhookEndpoint, str]:
        """Make a new secret; the old one goes on signing for a day.

        Raises
        ------
        NotFoundError
            There is no webhook.
        ConflictError
            As many secrets sign as can.
        """
        secret, sealed = self._new_secret(customer_id, budget)
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            before, now = self.endpoint(customer_id, budget), self._clock.now()
            _check_room(before.signing(now))
            after = before.rotated(sealed, now)
            if self._replace(actor, "webhook.rotate", before, after, budget):
                return after, secret
        raise _busy()

    def remove(self, actor: str, customer_id: str, budget: TimeBudget) -> None:
        """Tell the customer nothing more, and forget its secrets.

        Raises
        ------
        NotFoundError
            There is no webhook.
        """
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            before = self.endpoint(customer_id, budget)
            audit = self._audit(actor, customer_id, "webhook.delete", before.facts(), None)
            if self._retry(partial(self._endpoints.delete_endpoint, before, audit), budget):
                return
        raise _busy()

    # --- deliveries -------------------------------------------------------------------------

    def test(self, customer_id: str, budget: TimeBudget) -> WebhookEvent:
        """Have an event delivered that tells nothing; asked for again at once, the same one.

        Raises
        ------
        NotFoundError
            There is no webhook.
        ConflictError
            It is switched off.
        """
        self._switched_on(customer_id, budget)
        event = trial_event(customer_id, self._clock.now())
        self._retry(lambda: self._queue.send(event), budget)
        return event

    def deliveries(
        self, customer_id: str, limit: int, cursor: str | None, budget: TimeBudget
    ) -> DeliveryPage:
        """Return a page of the customer's deliveries, the newest first."""
        return self._retry(lambda: self._log.deliveries(customer_id, limit, cursor), budget)

    def delivery(self, customer_id: str, event_id: str, budget: TimeBudget) -> Delivery:
        """Return the delivery of an event.

        Raises
        ------
        NotFoundError
            The customer has no such delivery (any more).
        """
        found = self._retry(lambda: self._log.delivery(customer_id, event_id), budget)
        if found is None or found.expires_at <= self._clock.now():
            raise NotFoundError(
                "There is no such delivery.",
                details={"hint": "Deliveries can be looked up for 30 days."},
            )
        return found

    def redeliver(self, customer_id: str, event_id: str, budget: TimeBudget) -> Step:
        """Have an event delivered once more; return the first step of that.

        Raises
        ------
        NotFoundError
            There is no such delivery, or no webhook.
        ConflictError
            Its delivery is still going on, or the webhook is switched off.
        RateLimitedError
            The last attempt was a moment ago.
        """
        delivery, now = self.delivery(customer_id, event_id, budget), self._clock.now()
        self._switched_on(customer_id, budget)
        if not delivery.over and not delivery.lost_at(now):
            raise ConflictError(
                "The delivery is still going on.",
                details={
                    "next_attempt_at": optional_instant(delivery.due_at),
                    "hint": "It can be made again once it is delivered or has failed.",
                },
            )
        if delivery.attempts and now < delivery.attempts[-1].at + PACE:
            seconds = int(PACE.total_seconds())
            raise RateLimitedError(
                f"An event can be delivered again every {seconds} seconds.",
                details={"hint": "Wait a moment."},
                retry_after_seconds=seconds,
            )
        step = delivery.next_step
        self._retry(lambda: self._queue.go_on(step, _AT_ONCE), budget)
        return step

    def redrive(self, limit: int) -> int:
        """Try again what was given up, up to ``limit``; return how much."""
        return self._queue.redrive(limit)

    # --- how --------------------------------------------------------------------------------

    def _switched_on(self, customer_id: str, budget: TimeBudget) -> None:
        endpoint = self.endpoint(customer_id, budget)
        if endpoint.switched_off_at is not None:
            raise ConflictError(
                "The webhook is switched off: its server answered 410 Gone.",
                details={
                    "switched_off_at": optional_instant(endpoint.switched_off_at),
                    "hint": "Set it again with PUT /alerts/webhook.",
                },
            )

    def _new_secret(self, customer_id: str, budget: TimeBudget) -> tuple[str, bytes]:
        secret = new_secret(self._random_bytes)
        return secret, self._retry(lambda: self._secrets.seal(customer_id, secret), budget)

    def _replace(
        self,
        actor: str,
        action: str,
        before: WebhookEndpoint | None,
        after: WebhookEndpoint,
        budget: TimeBudget,
    ) -> bool:
        replaced = None if before is None else before.facts()
        audit = self._audit(actor, after.customer_id, action, replaced, after.facts())
        return self._retry(partial(self._endpoints.replace_endpoint, before, after, audit), budget)

    def _retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(operation, budget, reserve_seconds=_DELIVERY_RESERVE_SECONDS)


def _check_room(signing: tuple[SealedSecret, ...]) -> None:
    """Make sure that another secret can sign: each is a signature on every delivery."""
    if len(signing) < MOST_SECRETS:
        return
    first_to_end = min(secret.until for secret in signing if secret.until is not None)
    raise ConflictError(
        f"{MOST_SECRETS} secrets sign at once, and no more.",
        details={
            "until": optional_instant(first_to_end),
            "hint": "Wait until then, or delete the webhook and set it again: "
            "all its secrets end with it.",
        },
    )


def _busy() -> ConflictError:
    return ConflictError("The webhook is being changed by somebody else; try again.")
