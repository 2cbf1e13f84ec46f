"""``/admin/…``: a customer's right to its data, as operators carry it out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Path

from flowstack_core.domain.data_rights import Erasure, Export
from flowstack_core.domain.periods import instant, optional_instant
from flowstack_core.http.admin_billing_routes import CustomerId
from flowstack_core.http.admin_bodies import ErasureBody
from flowstack_core.http.resolver import json_response, operator_of
from flowstack_core.services.erasures import ErasureService
from flowstack_core.services.exports import ExportService

logger = Logger()

ExportId = Annotated[str, Path(max_length=64)]


def export_document(export: Export, link: tuple[str, datetime] | None) -> dict[str, Any]:
    """Render how far an export is; ``records`` are those in the archive so far, by file."""
    url, url_expires_at = link or (None, None)
    status = "running" if export.ready_at is None else "ready" if url is not None else "expired"
    return {
        "export_id": export.export_id,
        "status": status,
        "asked_at": instant(export.asked_at),
        "ready_at": optional_instant(export.ready_at),
        "expires_at": optional_instant(export.expires_at),
        "records": dict(sorted(export.counts.items())),
        "url": url,
        "url_expires_at": optional_instant(url_expires_at),
    }


def erasure_document(erasure: Erasure) -> dict[str, Any]:
    """Render how far an erasure is; ``deleted`` counts items by kind."""
    return {
        "status": erasure.phase.value,
        "actor": erasure.actor,
        "asked_at": instant(erasure.asked_at),
        "stopped_at": optional_instant(erasure.stopped_at),
        "deletes_after": optional_instant(erasure.not_before),
        "finished_at": optional_instant(erasure.finished_at),
        "expires_by": optional_instant(erasure.gone_by),
        "deleted": dict(sorted(erasure.counts.items())),
    }


def add_data_rights_routes(
    app: APIGatewayRestResolver,
    exports: Callable[[], ExportService],
    erasures: Callable[[], ErasureService],
) -> None:
    """Add the routes to exports and erasures."""

    @app.post("/admin/customers/<customer_id>/exports")
    def start_export(customer_id: CustomerId) -> Response[Any]:
        export = exports().start(operator_of(app), customer_id)
        logger.info("export asked for", extra={"export_id": export.export_id})
        return json_response(
            202, {"customer_id": customer_id, "export": export_document(export, None)}
        )

    @app.get("/admin/customers/<customer_id>/exports/<export_id>")
    def show_export(customer_id: CustomerId, export_id: ExportId) -> Response[Any]:
        operator_of(app)
        export = exports().export(customer_id, export_id)
        # The link lets anybody in: it is in this answer, and in no log.
        document = export_document(export, exports().link(export))
        return json_response(200, {"customer_id": customer_id, "export": document})

    @app.post("/admin/customers/<customer_id>/erasure")
    def start_erasure(customer_id: CustomerId, body: ErasureBody) -> Response[Any]:
        erasure = erasures().start(operator_of(app), customer_id, body.confirm)
        logger.info("erasure asked for", extra={"customer_id": customer_id})
        return json_response(
            202, {"customer_id": customer_id, "erasure": erasure_document(erasure)}
        )

    @app.get("/admin/customers/<customer_id>/erasure")
    def show_erasure(customer_id: CustomerId) -> Response[Any]:
        operator_of(app)
        document = erasure_document(erasures().erasure(customer_id))
        return json_response(200, {"customer_id": customer_id, "erasure": document})
