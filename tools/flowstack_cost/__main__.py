"""``python -m flowstack_cost`` works out what a month's messages cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer

from flowstack_cost.model import Door, Workload, bill, total


def main(
    messages: Annotated[int, typer.Option(min=1, help="Messages a month.")] = 1_000_000,
    per_session: Annotated[int, typer.Option(min=1, help="Messages of a session.")] = 5,
    seconds: Annotated[float, typer.Option(min=0, help="How long a model takes.")] = 3,
    customers: Annotated[int, typer.Option(min=1, help="Customers.")] = 100,
    log_kb: Annotated[float, typer.Option(min=0, help="What a message leaves in the logs.")] = 2,
    *,
    invoke: Annotated[
        bool, typer.Option("--invoke/--chat", help="Whether callers keep the transcripts.")
    ] = False,
    together: Annotated[
        bool, typer.Option("--together/--alone", help="Whether changes come in batches.")
    ] = False,
) -> None:
    """Work out what a month's messages cost beside the models, at list prices of us-east-1."""
    workload = Workload(
        messages=messages,
        messages_a_session=per_session,
        seconds_an_answer=Decimal(str(seconds)),
        door=Door.INVOKE if invoke else Door.CHAT,
        together=together,
        log_kb=Decimal(str(log_kb)),
        customers=customers,
    )
    lines = bill(workload)
    for line in lines:
        print(f"{line.what:44} {line.amount:>16,.0f} {line.unit:12} ${line.dollars:>12,.2f}")
    print(f"{'in all':44} {'':29} ${total(lines):>12,.2f}")
    print(f"a session: ${total(lines) / workload.sessions:.6f}")


if __name__ == "__main__":
    typer.run(main)
