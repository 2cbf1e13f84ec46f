"""The tables, each from the one place in the code that decides what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from flowstack_core.domain.catalogue import PROVIDER as BEDROCK
from flowstack_core.domain.catalogue import Model, default_catalogue
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.domain.identifiers import MAX_NAME_LENGTH
from flowstack_core.domain.plans import all_plans
from flowstack_core.domain.prices import PriceLine, default_prices
from flowstack_core.domain.providers import WAYS
from flowstack_core.domain.rollups import Route
from flowstack_core.domain.sizes import MAX_KEPT_BYTES
from flowstack_core.domain.vault import (
    MAX_DOCUMENT_BYTES,
    MAX_KEY_BYTES,
    MAX_PAGE,
    MAX_PAGE_BYTES,
    MAX_STORED_BYTES,
    MAX_TTL,
)
from flowstack_core.domain.vault_filters import (
    MAX_CONDITIONS,
    MAX_LIST,
    MAX_PATTERN_LENGTH,
)
from flowstack_core.domain.vault_filters import MAX_DEPTH as MAX_FILTER_DEPTH
from flowstack_core.domain.vault_sorting import MAX_SORT_FIELDS
from flowstack_core.domain.vault_updates import MAX_PATHS
from flowstack_core.http.errors import STATUS
from flowstack_core.http.json_body import MAX_BYTES, MAX_DEPTH
from flowstack_core.http.public_routes import OPENAPI_FILE
from flowstack_core.http.requests import ChatBody, InvokeBody
from flowstack_core.metrics import METRICS
from flowstack_cost.model import Line, Workload, bill
from flowstack_cost.model import total as total_cost
from flowstack_docs.limits import (
    customer_limits,
    operator_limits,
    retention,
    time_limits,
    webhook_limits,
)
from flowstack_docs.markdown import table
from flowstack_docs.reference import routes_reference, schemas_reference, statuses_reference
from stacks.gateway_responses import ANSWERS


def plans() -> str:
    """Return what each tier costs and gives."""
    return table(
        ("tier", "price", "sessions", "managed models", "own keys", "support", "extras"),
        (
            (
                f"`{plan.tier}`",
                f"${plan.price_cents / 100:,.0f}",
                f"{plan.sessions_per_month:,}",
                "yes" if plan.managed_models else "no",
                plan.byok,
                plan.support,
                ", ".join(plan.extras),
            )
            for plan in all_plans()
        ),
    )


def fair_use() -> str:
    """Return what one customer of each tier may use beyond its sessions."""
    return table(
        ("tier", "requests a minute", "managed tokens a day"),
        (
            (
                f"`{plan.tier}`",
                f"{plan.fair_use.requests_per_minute:,}",
                f"{plan.fair_use.managed_tokens_per_day:,}",
            )
            for plan in all_plans()
        ),
    )


def routes() -> str:
    """Return the customers' routes."""
    paths: dict[str, dict[str, Any]] = json.loads(OPENAPI_FILE.read_bytes())["paths"]
    return table(
        ("route", "key", "what it does"),
        (
            (
                f"`{method.upper()} {path}`",
                "yes" if operation["security"] else "no",
                f"{operation['summary']}.",
            )
            for path, operations in sorted(paths.items())
            for method, operation in sorted(operations.items())
        ),
    )


def errors() -> str:
    """Return the codes of the errors that functions answer with."""
    rows = sorted((int(status), kind.code, _summary(kind)) for kind, status in STATUS.items())
    return table(
        ("status", "`error_code`", "meaning"),
        ((str(status), f"`{code}`", meaning) for status, code, meaning in rows),
    )


def gateway_errors() -> str:
    """Return the errors that API Gateway answers with itself."""
    return table(
        ("API Gateway's name", "status", "`error_code`", "`Retry-After`"),
        (
            (
                f"`{answer.kind}`",
                "as it is" if answer.status is None else str(answer.status),
                f"`{answer.code}`",
                "yes" if answer.retry else "",
            )
            for answer in ANSWERS
        ),
    )


def limits() -> str:
    """Return how large a request and its parts may be."""
    chat, invoke = (body.model_json_schema()["properties"] for body in (ChatBody, InvokeBody))
    message = _first(chat["message"], "string")
    rows: tuple[tuple[str, int, str], ...] = (
        ("body", MAX_BYTES, "bytes"),
        ("nesting of the body", MAX_DEPTH, "levels"),
        ("`messages` of `/invoke`", invoke["messages"]["maxItems"], "messages"),
        ("`message` of `/chat`", message["maxLength"], "characters"),
        ("`message` of `/chat`, compressed", MAX_KEPT_BYTES, "bytes"),
        ("`system`", _first(chat["system"], "string")["maxLength"], "characters"),
        ("`tools`", chat["tools"]["maxItems"], "tools"),
        ("`agent`, `conversation_id`", MAX_NAME_LENGTH, "characters"),
    )
    return table(("what", "at most"), ((what, f"{most:,} {unit}") for what, most, unit in rows))


def vault_limits() -> str:
    """Return how large documents, filters and answers of the vault may be."""
    rows: tuple[tuple[str, int, str], ...] = (
        ("a document, as JSON in ASCII", MAX_DOCUMENT_BYTES, "bytes"),
        ("a document, compressed by zlib", MAX_STORED_BYTES, "bytes"),
        ("the name of a collection", MAX_NAME_LENGTH, "characters"),
        ("a key, in UTF-8", MAX_KEY_BYTES, "bytes"),
        ("`ttl_seconds`", int(MAX_TTL.total_seconds()), "seconds"),
        ("documents of an answer, as JSON in ASCII", MAX_PAGE_BYTES, "bytes"),
        ("`limit`", MAX_PAGE, "documents"),
        ("conditions of a filter", MAX_CONDITIONS, "conditions"),
        ("nesting of a filter", MAX_FILTER_DEPTH, "levels"),
        ("list of `$in` and `$nin`", MAX_LIST, "values"),
        ("`$regex`", MAX_PATTERN_LENGTH, "characters"),
        ("fields of a sort", MAX_SORT_FIELDS, "fields"),
        ("paths of an update", MAX_PATHS, "paths"),
    )
    return table(("what", "at most"), ((what, f"{most:,} {unit}") for what, most, unit in rows))


def credentials() -> str:
    """Return the ways to reach each provider with credentials of one's own."""
    return table(
        ("provider", "`byok_credentials` must have", "and may have", "without them"),
        (
            (
                f"`{provider}`",
                ", ".join(f"`{name}`" for name in way.required),
                ", ".join(f"`{name}`" for name in way.optional),
                "managed" if provider.managed else "`CREDENTIALS_REQUIRED`",
            )
            for provider, ways in WAYS.items()
            for way in ways
        ),
    )


def models() -> str:
    """Return the catalogue, in its own order."""
    return table(
        ("name", "also called", "context", "output", "legacy since", "retired", "successor"),
        (_model_row(model) for model in default_catalogue()),
    )


def prices() -> str:
    """Return the prices of managed models: the last one of each, and what it is elsewhere."""
    listed = default_prices()
    routes = (
        Route(managed=True, provider=BEDROCK, model=model.id) for model in default_catalogue()
    )
    lines = (listed.line_of(route, listed.as_of) for route in routes)
    return table(
        ("name", "input", "output", "from", "elsewhere (input / output)"),
        (_price_row(line) for line in lines if line is not None),
    )


def cost() -> str:
    """Return what a million messages cost, of busy customers and of quiet ones."""
    quiet, busy = (bill(Workload(together=together)) for together in (False, True))
    rows = [
        (line.what, _amount(line), f"${line.dollars:,.2f}", f"${other.dollars:,.2f}")
        for line, other in zip(quiet, busy, strict=True)
    ]
    sums = (f"**${total_cost(lines):,.2f}**" for lines in (quiet, busy))
    return table(
        ("what", "a million messages", "each by itself", "in batches"),
        [*rows, ("**sum**", "", *sums)],
    )


def _amount(line: Line) -> str:
    return f"{line.amount:,.0f} {line.unit}"


def metrics() -> str:
    """Return the metrics that functions write."""
    return table(
        ("metric", "written by", "also by", "counts or measures"),
        (
            (
                f"`{name}`",
                ", ".join(f"`{service}`" for service in metric.services),
                "" if metric.by is None else f"`{metric.by}`",
                f"{metric.meaning}{' (ms)' if metric.unit is MetricUnit.Milliseconds else ''}",
            )
            for name, metric in METRICS.items()
        ),
    )


def runbook() -> str:
    """Return the pages of the runbook, each with the alarms that refer to it."""

    def link(page: Path) -> str:
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        return f"[{title}](runbook/{page.name})"

    return table(
        ("what is wrong", "alarms"),
        (
            (link(page), ", ".join(f"`{name}`" for name in alarms_of(page)))
            for page in runbook_pages()
        ),
    )


def runbook_pages() -> list[Path]:
    """Return the pages of the runbook, in the order of their names."""
    return sorted((Path(__file__).parents[2] / "docs/runbook").glob("*.md"))


def alarms_of(page: Path) -> list[str]:
    """Return the alarms that a page of the runbook is about: the first column of its table."""
    rows = re.findall(
        r"^\| (`[A-Z]\w+`(?:, `[A-Z]\w+`)*) \|", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [name.strip("`") for row in rows for name in row.split(", ") if not name.isupper()]


TABLES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "plans": plans,
        "fair-use": fair_use,
        "routes": routes,
        "errors": errors,
        "gateway-errors": gateway_errors,
        "limits": limits,
        "vault-limits": vault_limits,
        "time-limits": time_limits,
        "retention": retention,
        "customer-limits": customer_limits,
        "webhook-limits": webhook_limits,
        "operator-limits": operator_limits,
        "credentials": credentials,
        "models": models,
        "prices": prices,
        "metrics": metrics,
        "cost": cost,
        "reference-routes": routes_reference,
        "reference-statuses": statuses_reference,
        "reference-schemas": schemas_reference,
        "runbook": runbook,
    }
)
"""The tables by the name that a page marks their place with."""


def _price_row(line: PriceLine) -> tuple[str, ...]:
    elsewhere = (
        f"`{place}` {price.input} / {price.output}" for place, price in line.elsewhere.items()
    )
    return (
        f"`{line.price.model}`",
        str(line.price.input),
        str(line.price.output),
        line.price.since.isoformat(),
        ", ".join(elsewhere),
    )


def _model_row(model: Model) -> tuple[str, ...]:
    if model.retired_on is not None:
        retired = model.retired_on.isoformat()
    else:
        retired = "yes" if model.state == "retired" else ""
    return (
        f"`{model.id}`",
        ", ".join(f"`{alias}`" for alias in model.aliases),
        f"{model.context_window:,}",
        f"{model.max_output_tokens:,}",
        "" if model.legacy_since is None else model.legacy_since.isoformat(),
        retired,
        "" if model.successor is None else f"`{model.successor}`",
    )


def _summary(kind: type[FlowStackError]) -> str:
    """Return the first line of a class's description."""
    if kind is FlowStackError:
        return "A failure on FlowStack's side that nobody foresaw; nothing was counted."
    return (kind.__doc__ or "").strip().splitlines()[0]


def _first(schema: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the alternative of a JSON schema that is of a type."""
    found: Mapping[str, Any] = next(one for one in schema["anyOf"] if one.get("type") == kind)
    return found
