"""The webhook that a payment provider calls. Its signature is all the proof there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response

from flowstack_core.domain.errors import SignatureRejectedError
from flowstack_core.http import telemetry
from flowstack_core.http.resolver import create_app, json_response
from flowstack_core.services.payments import PaymentService, Receipt

logger = Logger()


def payments_app(service: Callable[[], PaymentService]) -> APIGatewayRestResolver:
    """Return the resolver.

    Whatever cannot be carried out now is answered with an error: the provider sends it again.
    What will never be carried out is answered with 200, or it would come for days.
    """
    app = create_app()

    @app.post("/webhooks/stripe", summary="Take an event of Stripe", tags=["payments"])
    def stripe_webhook() -> Response[Any]:
        request = app.current_event
        try:
            receipt = service().receive(
                request.decoded_body or "", request.headers.get("stripe-signature")
            )
        except SignatureRejectedError:
            telemetry.count("PaymentSignaturesRejected")
            raise
        except Exception:
            telemetry.count("PaymentEventsFailed")
            raise
        _report(receipt)
        return json_response(200, {"received": True, "ignored": receipt.ignored})

    return app


def _report(receipt: Receipt) -> None:
    """Leave a line in the log, and count what nothing followed from."""
    logger.info(
        "payment event",
        extra={
            "event_id": receipt.event_id,
            "customer_id": receipt.customer_id,
            "ignored": receipt.ignored,
        },
    )
    if receipt.ignored is not None:
        telemetry.count("PaymentEventsIgnored")
