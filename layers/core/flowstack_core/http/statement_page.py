"""A statement as a page to read and to print: one file, without scripts or anything to load."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from string import Template

from flowstack_core.domain.statements import CURRENCY, Line, Statement, dollars
from flowstack_core.domain.subscriptions import Terms

_STYLE = """
body { color: #111; font: 11pt/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 44rem; }
h1 { font-size: 1.5rem; margin: 0; }
dl { display: grid; gap: 0 1.5rem; grid-template-columns: max-content auto; margin: 1.5rem 0; }
dt { color: #555; }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; }
caption { font-weight: bold; padding-bottom: 0.3rem; text-align: left; }
th, td { border-bottom: 1px solid #bbb; padding: 0.3rem 0.8rem 0.3rem 0; text-align: left; }
.number { font-variant-numeric: tabular-nums; padding-right: 0; text-align: right; }
tfoot td, tfoot th { border-bottom: 0; font-weight: bold; }
@page { margin: 2cm; }
@media print { body { margin: 0; max-width: none; } tr, dl { break-inside: avoid; } }
"""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded and nothing runs; the page's own style is let in by its hash."""

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>FlowStack statement $period</title>
<style>$style</style>
</head>
<body>
<h1>FlowStack statement $period</h1>
<dl>
$facts
</dl>
<table>
<caption>Charges</caption>
<thead>
<tr><th scope="col">Description</th><th scope="col">Period</th>\
<th scope="col" class="number">Sessions</th><th scope="col" class="number">$currency</th></tr>
</thead>
<tbody>
$lines
</tbody>
<tfoot>
<tr><th scope="row" colspan="3">Total</th><td class="number">$total</td></tr>
</tfoot>
</table>
$change
</body>
</html>
""")


def statement_page(statement: Statement) -> str:
    """Write a statement as an HTML page."""
    return _PAGE.substitute(
        style=_STYLE,
        currency=CURRENCY,
        period=statement.period.name,
        facts="\n".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(statement)
        ),
        lines="\n".join(_line(line) for line in statement.lines),
        total=_amount(statement.total_cents),
        change=_change(statement),
    )


def _facts(statement: Statement) -> list[tuple[str, str]]:
    period = statement.period
    facts = [
        ("Statement", statement.statement_id),
        ("Customer", statement.customer_id),
        ("From", f"{period.start:%Y-%m-%d %H:%M} UTC"),
        ("To, not included", f"{period.end:%Y-%m-%d %H:%M} UTC"),
        ("Closed", f"{statement.closed_at:%Y-%m-%d %H:%M} UTC"),
        ("Plan", ", ".join(tier.value for tier in statement.tiers)),
        ("Sessions used", f"{statement.sessions_used:,} of {statement.session_limit:,}"),
        ("With managed models", f"{statement.managed_sessions:,}"),
        ("With own keys", f"{statement.byok_sessions:,}"),
    ]
    adjusted = sum(statement.adjustments.values())
    if adjusted:
        facts.append(("Adjustment of earlier periods", f"{adjusted:+,} sessions"))
    return facts


def _line(line: Line) -> str:
    return (
        f"<tr><td>{escape(line.description)}</td><td>{line.period.name}</td>"
        f'<td class="number">{line.sessions:,}</td>'
        f'<td class="number">{_amount(line.amount_cents)}</td></tr>'
    )


def _change(statement: Statement) -> str:
    change = statement.plan_change
    if change is None:
        return ""
    return (
        f"<p>From {statement.period.end:%Y-%m-%d} on: {_terms(change.after)}; "
        f"until then: {_terms(change.before)}.</p>"
    )


def _terms(terms: Terms) -> str:
    price = _amount(terms.price_cents)
    return escape(
        f"{terms.tier.value}, {terms.session_limit:,} sessions and {price} {CURRENCY} a month"
    )


def _amount(cents: int) -> str:
    return dollars(cents, thousands=",")
