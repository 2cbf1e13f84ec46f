"""Events on their way to customers' servers: signed, and only where `egress` lets them go.

What a server answers is not read beyond its head: the status decides. The reasons of failures are
a few fixed words, so that nothing a server says can reach a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from flowstack_core.adapters.egress import (
    EgressPolicy,
    EgressRefusedError,
    Resolver,
    parse_destination,
    resolve_by_system,
)
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.webhooks import Failure, Reply, WebhookEvent

TIMEOUT_SECONDS = 12.0
"""For everything, from resolving the name to the head of the answer."""

_USER_AGENT = "FlowStack-Webhooks/1"


def check_url(url: str, policy: EgressPolicy) -> None:
    """Make sure that a URL is one that events can be sent to, whatever its host resolves to.

    Raises
    ------
    InvalidRequestError
        It is not; the message says why.
    """
    try:
        parse_destination(url, policy)
    except EgressRefusedError as refusal:
        raise _bad_url(str(refusal)) from None
    if "#" in url:
        raise _bad_url("it must not have a fragment")


def _bad_url(reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"url: FlowStack does not send events there: {reason}.", details={"field": "url"}
    )


class HttpWebhookSender:
    """`flowstack_core.services.ports.webhooks.WebhookSender` over HTTPS.

    Parameters
    ----------
    seconds
        For one attempt, however slowly the server reads and answers.
    resolve
        Finds the addresses of a name.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        seconds: float = TIMEOUT_SECONDS,
        resolve: Resolver = resolve_by_system,
    ) -> None:
        self._policy = policy
        self._seconds = seconds
        self._resolve = resolve

    def send(self, url: str, event: WebhookEvent, secrets: Sequence[str], at: datetime) -> Reply:
        """Send a signed event once, and return what came of it."""
        import httpx2  # noqa: PLC0415 - only who sends has it

        from flowstack_core.adapters.egress_transport import guarded_client  # noqa: PLC0415

        body = event.body()
        headers = {
            **signed_headers(event.event_id, body, secrets, at),
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
        }
        try:
            with (
                guarded_client(self._policy, self._seconds, resolve=self._resolve) as client,
                client.stream("POST", url, content=body, headers=headers) as response,
            ):
                wait = retry_after(response.headers.get("retry-after"), at)
                return Reply.answered(response.status_code, wait)
        except (EgressRefusedError, httpx2.InvalidURL):
            return Reply.none(Failure.REFUSED)
        except (httpx2.ConnectTimeout, httpx2.NetworkError):
            return Reply.none(Failure.UNREACHABLE)
        except httpx2.TimeoutException:
            return Reply.none(Failure.TIMEOUT)
        except httpx2.RemoteProtocolError:
            return Reply.none(Failure.MALFORMED)


def signed_headers(
    event_id: str, body: str, secrets: Sequence[str], at: datetime
) -> dict[str, str]:
    """Return the headers by which a receiver knows who sent a body, and when.

    As Standard Webhooks has it: one signature a secret, so that a receiver needs to know one only.
    """
    from standardwebhooks import Webhook  # noqa: PLC0415 - only who sends has it

    sent_at = at.astimezone(UTC)
    signatures = [Webhook(secret).sign(event_id, sent_at, body) for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def retry_after(written: str | None, now: datetime) -> timedelta | None:
    """Return how long a ``Retry-After`` asks to wait, be it seconds or a date."""
    if written is None:
        return None
    if written.isascii() and written.isdigit():
        return timedelta(seconds=min(int(written[:9]), 10**8))
    try:
        return max(timedelta(0), parsedate_to_datetime(written).astimezone(UTC) - now)
    except (ValueError, OverflowError):
        return None
