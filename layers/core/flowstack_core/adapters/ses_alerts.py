"""Alerts as mail to customers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowstack_core.domain.alerts import Alert
from flowstack_core.domain.own_limits import BudgetAlert
from flowstack_core.domain.periods import instant

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client


def alert_mail(sender: str, alert: Alert, address: str) -> dict[str, Any]:
    """Return the request for an alert's mail."""
    subject = f"{alert.threshold} % of your sessions of {alert.period} are used"
    text = (
        f"{alert.sentence}\n\n"
        "New sessions start until the limit is reached; running ones always go on."
        f" The next period begins at {instant(alert.period.end)}.\n\n"
        "You get this mail because your account asks for it (PUT /alerts). It is sent once for"
        f" each period and threshold; its id is {alert.alert_id}.\n"
    )
    return _mail(sender, address, subject, text)


def budget_mail(sender: str, alert: BudgetAlert, address: str) -> dict[str, Any]:
    """Return the request for the mail about a ceiling."""
    reached = alert.reached
    ceiling, spent = reached.ceiling_cents / 100, reached.spent_cents / 100
    consequence = (
        "No new session starts until the ceiling is raised or the next period begins; running"
        " ones go on."
        if reached.blocks
        else "Nothing is stopped: your budget only warns."
    )
    text = (
        f"You have spent about ${spent:,.2f} in {alert.period}; your own ceiling is"
        f" ${ceiling:,.2f}.\n\n"
        f"{consequence} The next period begins at {instant(alert.period.end)}.\n\n"
        "You get this mail because your account asks for it (PUT /alerts, PUT /budget). It is"
        f" sent once for each period; its id is {alert.event_id}.\n"
    )
    return _mail(sender, address, f"Your ceiling for {alert.period} is reached", text)


def _mail(sender: str, address: str, subject: str, text: str) -> dict[str, Any]:
    return {
        "FromEmailAddress": sender,
        "Destination": {"ToAddresses": [address]},
        "Content": {
            "Simple": {
                "Subject": {"Data": subject, "Charset": "UTF-8"},
                "Body": {"Text": {"Data": text, "Charset": "UTF-8"}},
            }
        },
    }


class SesAlertMail:
    """`flowstack_core.services.ports.alerts.AlertMail` on SES."""

    def __init__(self, client: SESV2Client, sender: str) -> None:
        self._client = client
        self._sender = sender

    def send(self, alert: Alert, address: str) -> None:
        """Send a customer its alert. SES knows no repeats: again, it is sent again."""
        self._client.send_email(**alert_mail(self._sender, alert, address))

    def send_budget(self, alert: BudgetAlert, address: str) -> None:
        """Tell a customer that its own ceiling was reached."""
        self._client.send_email(**budget_mail(self._sender, alert, address))
