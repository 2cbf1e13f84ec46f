"""What the operator wants to be told of the account's costs."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.stage import Stage

CONTEXT = "monthly_budget"


class InvalidBudgetError(ValueError):
    """The context value is no amount of money."""


@dataclass(frozen=True, slots=True)
class MonthlyBudget:
    """A budget of AWS Budgets, which is free and works in every region.

    It is for the whole account: what a model of Bedrock costs carries no tag of this app.
    """

    dollars: float

    speaker = "budgets.amazonaws.com"

    @classmethod
    def configured(cls, scope: Construct) -> MonthlyBudget | None:
        """Return the budget that CDK context asks for, if any.

        Raises
        ------
        InvalidBudgetError
            The value is not a positive number of US dollars.
        """
        value = scope.node.try_get_context(CONTEXT)
        if value is None:
            return None
        try:
            dollars = float(value)
        except (TypeError, ValueError):
            dollars = 0.0
        if not 0 < dollars < float("inf"):
            raise InvalidBudgetError(
                f"{CONTEXT} is a positive number of US dollars, not {value!r}."
            )
        return cls(dollars)

    def tell(self, scope: Construct, stage: Stage, topic: sns.ITopic) -> None:
        """Have the topic told at four fifths, at all of it, and when it looks as if it will be."""
        subscriber = budgets.CfnBudget.SubscriberProperty(
            subscription_type="SNS", address=topic.topic_arn
        )
        budgets.CfnBudget(
            scope,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=stage.name_of("monthly"),
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=self.dollars, unit="USD"),
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind,
                        comparison_operator="GREATER_THAN",
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[subscriber],
                )
                for kind, percent in (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))
            ],
        )
