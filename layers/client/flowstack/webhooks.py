"""Webhooks: where events are delivered, what became of that, and whether one is from FlowStack."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from flowstack.documents import Document, Webhook, WebhookDelivery, WebhookDeliveryPage
from flowstack.exceptions import InvalidRequestError, NotFoundError
from flowstack.operations import Operation, present, segment
from flowstack.paging import each, each_async
from flowstack.transport import AsyncClient, Client

TOLERANCE_SECONDS = 300
"""How far the sender's clock and ours may be apart; what is older may be a recording."""

_PATH = "/alerts/webhook"
_PREFIX = "whsec_"


class WebhookManager:
    """The webhook and its deliveries. An agent has one as ``agent.webhooks``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self) -> Webhook | None:
        """Return where events are delivered; ``None`` if nowhere."""
        try:
            return self._client.run(find())
        except NotFoundError:
            return None

    def set(self, url: str) -> Webhook:
        """Have events delivered to a URL. ``secret`` is there if it was made, this once."""
        return self._client.run(set_url(url))

    def remove(self) -> bool:
        """Have nothing delivered any more; tell whether anything was."""
        try:
            return self._client.run(remove())
        except NotFoundError:
            return False

    def rotate_secret(self) -> Webhook:
        """Make a new ``secret``; for a day events are signed with the old one too."""
        return self._client.run(rotate_secret())

    def test(self) -> str:
        """Have a test delivered; return its event id."""
        return self._client.run(test())

    def deliveries(self, limit: int | None = None) -> Iterator[WebhookDelivery]:
        """Yield the deliveries of the last 30 days, newest first; pages are read as needed.

        Parameters
        ----------
        limit
            How many at most; all, where it is not given.
        """
        return each(self._client, deliveries, limit)

    def delivery(self, event_id: str) -> WebhookDelivery:
        """Return the delivery of one event, with its payload and every attempt."""
        return self._client.run(delivery(event_id))

    def redeliver(self, event_id: str) -> str:
        """Have an event delivered once more; return its id, which stays the same."""
        return self._client.run(redeliver(event_id))


class AsyncWebhookManager:
    """`WebhookManager` for coroutines."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def find(self) -> Webhook | None:
        """Return where events are delivered; ``None`` if nowhere."""
        try:
            return await self._client.run(find())
        except NotFoundError:
            return None

    async def set(self, url: str) -> Webhook:
        """Have events delivered to a URL. ``secret`` is there if it was made, this once."""
        return await self._client.run(set_url(url))

    async def remove(self) -> bool:
        """Have nothing delivered any more; tell whether anything was."""
        try:
            return await self._client.run(remove())
        except NotFoundError:
            return False

    async def rotate_secret(self) -> Webhook:
        """Make a new ``secret``; for a day events are signed with the old one too."""
        return await self._client.run(rotate_secret())

    async def test(self) -> str:
        """Have a test delivered; return its event id."""
        return await self._client.run(test())

    def deliveries(self, limit: int | None = None) -> AsyncIterator[WebhookDelivery]:
        """Yield the deliveries of the last 30 days, newest first; pages are read as needed."""
        return each_async(self._client, deliveries, limit)

    async def delivery(self, event_id: str) -> WebhookDelivery:
        """Return the delivery of one event, with its payload and every attempt."""
        return await self._client.run(delivery(event_id))

    async def redeliver(self, event_id: str) -> str:
        """Have an event delivered once more; return its id, which stays the same."""
        return await self._client.run(redeliver(event_id))


# --- is it from FlowStack? ------------------------------------------------------------------------


def verify(
    body: bytes | str, headers: Mapping[str, str], secret: str, now: float | None = None
) -> dict[str, Any]:
    """Return what an event says, once it is sure that FlowStack sent it, and sent it just now.

    It does what the libraries of Standard Webhooks do, without one.

    Parameters
    ----------
    body
        As it arrived, before anybody parsed it.
    now
        Seconds since 1970; the present, where it is not given.

    Raises
    ------
    InvalidRequestError
        It is not from FlowStack, was changed on its way, or is older than five minutes.
    """
    given = {name.lower(): value for name, value in headers.items()}
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    event_id, sent_at, signatures = (given.get(name, "") for name in names)
    text = body if isinstance(body, str) else body.decode()
    expected = _signature(f"{event_id}.{sent_at}.{text}", secret)
    if not any(
        hmac.compare_digest(expected.encode(), one.encode()) for one in signatures.split(" ")
    ):
        raise InvalidRequestError("The signature of the event is missing or wrong.")
    moment = time.time() if now is None else now
    if not sent_at.isdigit() or abs(moment - int(sent_at)) > TOLERANCE_SECONDS:
        raise InvalidRequestError("The event was not sent in the last five minutes.")
    found: dict[str, Any] = json.loads(text)
    return found


def _signature(text: str, secret: str) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        # Not chained: the error would hold the secret.
        raise InvalidRequestError(
            "This is no secret of a webhook: it looks like whsec_…."
        ) from None
    digest = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


# --- what is asked ------------------------------------------------------------------------------


def find() -> Operation[Webhook]:
    """Return the operation behind ``GET /alerts/webhook``."""
    return Operation("GET", _PATH, Webhook.model_validate)


def set_url(url: str) -> Operation[Webhook]:
    """Return the operation behind ``PUT /alerts/webhook``."""
    return Operation("PUT", _PATH, Webhook.model_validate, body={"url": url})


def remove() -> Operation[bool]:
    """Return the operation behind ``DELETE /alerts/webhook``."""
    return Operation("DELETE", _PATH, lambda _: True)


def rotate_secret() -> Operation[Webhook]:
    """Return the operation behind ``POST /alerts/webhook/secret``."""
    return Operation("POST", f"{_PATH}/secret", Webhook.model_validate, body={})


def test() -> Operation[str]:
    """Return the operation behind ``POST /alerts/webhook/test``."""
    return Operation("POST", f"{_PATH}/test", _event_id, body={})


def deliveries(limit: int, cursor: str | None) -> Operation[WebhookDeliveryPage]:
    """Return the operation behind ``GET /alerts/webhook/deliveries``."""
    query = present(limit=str(limit), cursor=cursor)
    return Operation("GET", f"{_PATH}/deliveries", WebhookDeliveryPage.model_validate, query=query)


def delivery(event_id: str) -> Operation[WebhookDelivery]:
    """Return the operation behind ``GET /alerts/webhook/deliveries/{event_id}``."""
    path = f"{_PATH}/deliveries/{segment(event_id)}"
    return Operation("GET", path, WebhookDelivery.model_validate)


def redeliver(event_id: str) -> Operation[str]:
    """Return the operation behind ``POST /alerts/webhook/deliveries/{event_id}/redeliver``."""
    path = f"{_PATH}/deliveries/{segment(event_id)}/redeliver"
    return Operation("POST", path, _event_id, body={})


def _event_id(document: Mapping[str, Any]) -> str:
    return str(Document.model_validate(document)["event_id"])
