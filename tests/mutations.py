"""Break each rule in the code and see its tests fail: ``python -m tests.mutations``.

Every mutation is made in a copy of the repository, where its tests must pass before and fail
after it. The same list is the table of ``docs/rules.md``; ``--write`` writes it anew, and
``--only S2`` tries the mutations of one rule.

Not part of ``make test``: it takes some minutes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "rules.md"

_CORE = "layers/core/flowstack_core"
_COPIED = ("layers/core", "tests", "tools", "pyproject.toml")
_FAILED_TESTS = 1  # pytest's exit status; others mean that the tests could not be run

SESSIONS = f"{_CORE}/domain/sessions.py"
PAYMENTS = f"{_CORE}/domain/payments.py"
PAYMENT_SERVICE = f"{_CORE}/services/payments.py"
STRIPE_EVENTS = f"{_CORE}/adapters/stripe_events.py"
QUOTA = f"{_CORE}/domain/quota.py"
PRICES = f"{_CORE}/domain/prices.py"
MARGIN = f"{_CORE}/domain/margin.py"
MARGINS = f"{_CORE}/services/margins.py"
DYNAMODB_MARGINS = f"{_CORE}/adapters/dynamodb_margins.py"
SUBSCRIPTIONS = f"{_CORE}/domain/subscriptions.py"
SUBSCRIPTION_SERVICE = f"{_CORE}/services/subscriptions.py"
IDEMPOTENCY = f"{_CORE}/domain/idempotency.py"
PERIODS = f"{_CORE}/domain/periods.py"
PROVIDERS = f"{_CORE}/domain/providers.py"
FAIR_USE = f"{_CORE}/domain/fair_use.py"
ADMISSION = f"{_CORE}/services/admission.py"
CONVERSATIONS = f"{_CORE}/services/conversations.py"
BYOK = f"{_CORE}/services/byok.py"
STORED_CREDENTIALS = f"{_CORE}/domain/stored_credentials.py"
EXPIRY = f"{_CORE}/services/expiry.py"
DYNAMODB_SESSIONS = f"{_CORE}/adapters/dynamodb_sessions.py"
DYNAMODB_CODEC = f"{_CORE}/adapters/dynamodb_codec.py"
ROLLUPS = f"{_CORE}/services/rollups.py"
ROLLUP_STREAM = f"{_CORE}/events/rollup_stream.py"
DYNAMODB_ROLLUPS = f"{_CORE}/adapters/dynamodb_rollups.py"
HISTORY = f"{_CORE}/services/history.py"
DYNAMODB_USAGE = f"{_CORE}/adapters/dynamodb_usage.py"
QUOTA = f"{_CORE}/domain/quota.py"
OWN_LIMITS = f"{_CORE}/domain/own_limits.py"
DYNAMODB_OWN_LIMITS = f"{_CORE}/adapters/dynamodb_own_limits.py"
DOORS = f"{_CORE}/http/conversation_routes.py"
KMS = f"{_CORE}/adapters/kms.py"
EGRESS = f"{_CORE}/adapters/egress.py"
EGRESS_TRANSPORT = f"{_CORE}/adapters/egress_transport.py"
PROVIDER_CLIENTS = f"{_CORE}/adapters/provider_clients.py"
MODEL_FAILURES = f"{_CORE}/adapters/model_failures.py"

ALERTS_DOMAIN = f"{_CORE}/domain/alerts.py"
ALERTS = f"{_CORE}/services/alerts.py"
ANNOUNCING = f"{_CORE}/services/announcing.py"
USAGE_STREAM = f"{_CORE}/events/usage_stream.py"
DYNAMODB_ALERTS = f"{_CORE}/adapters/dynamodb_alerts.py"

DEFERRED_DOMAIN = f"{_CORE}/domain/deferred.py"
DEFERRED = f"{_CORE}/services/deferred.py"
DYNAMODB_DEFERRED = f"{_CORE}/adapters/dynamodb_deferred.py"
WEBHOOKS_DOMAIN = f"{_CORE}/domain/webhooks.py"
WEBHOOKS = f"{_CORE}/services/webhooks.py"
WEBHOOK_WORKER = f"{_CORE}/services/webhook_deliveries.py"
DYNAMODB_WEBHOOKS = f"{_CORE}/adapters/dynamodb_webhooks.py"
DYNAMODB_VAULT = f"{_CORE}/adapters/dynamodb_vault.py"
VAULT = f"{_CORE}/services/vault.py"
VAULT_DOCUMENTS = f"{_CORE}/domain/vault.py"
VAULT_FILTERS = f"{_CORE}/domain/vault_filters.py"
VAULT_QUERIES = f"{_CORE}/services/vault_queries.py"

OF_DOMAIN = "tests/unit/domain/"
OF_SERVICES = "tests/unit/services/"
RULES_OF_SESSIONS = f"{OF_SERVICES}test_sessions_rules.py"
FORECASTS = "tests/unit/domain/test_forecast.py"
ADVICE = "tests/unit/domain/test_recommendations.py"
RULES_OF_QUOTA = f"{OF_SERVICES}test_quota_rules.py"
RULES_OF_PLANS = f"{OF_SERVICES}test_plan_rules.py"
FAILURES = f"{OF_SERVICES}test_failures_release.py"
RETRIES = f"{OF_SERVICES}test_idempotency.py"
FAIR_USE_TESTS = f"{OF_SERVICES}test_fair_use.py"
PRICE_TESTS = f"{OF_DOMAIN}test_prices.py"
MARGIN_TESTS = f"{OF_DOMAIN}test_margin.py"
REPORT_TESTS = f"{OF_SERVICES}test_margins.py"
MARGIN_CONTRACT = "tests/contract/test_margin_store.py"
CHANGES = f"{OF_DOMAIN}test_subscriptions.py"
USAGE_TESTS = f"{OF_SERVICES}test_usage.py"
BYOK_TESTS = f"{OF_SERVICES}test_byok.py"
MASK_TESTS = f"{OF_DOMAIN}test_stored_credentials.py"
CIPHER_CONTRACT = "tests/contract/test_credential_store.py"
EGRESS_TESTS = "tests/unit/adapters/test_egress.py"
PROVIDER_TESTS = "tests/unit/adapters/test_provider_clients.py"
CONTRACT = "tests/contract/test_session_store.py"
ROLLUP_TESTS = f"{OF_SERVICES}test_rollups.py"
ROLLUP_STREAM_TESTS = "tests/unit/events/test_rollup_stream.py"
ROLLUP_CONTRACT = "tests/contract/test_rollup_store.py"
HISTORY_TESTS = f"{OF_SERVICES}test_history.py"
OPENAI_TESTS = "tests/unit/http/test_openai_door.py"
DEFERRED_TESTS = f"{OF_SERVICES}test_deferred.py"
OWN_LIMIT_TESTS = f"{OF_SERVICES}test_own_limits.py"
OWN_LIMIT_CONTRACT = "tests/contract/test_own_limits_store.py"
BUDGET_ROUTE_TESTS = "tests/unit/http/test_budget_routes.py"
DEFERRED_CONTRACT = "tests/contract/test_deferred_store.py"
WEBHOOK_DOMAIN_TESTS = f"{OF_DOMAIN}test_webhooks.py"
WEBHOOK_TESTS = f"{OF_SERVICES}test_webhooks.py"
DELIVERY_TESTS = f"{OF_SERVICES}test_webhook_deliveries.py"
WEBHOOK_CONTRACT = "tests/contract/test_webhook_store.py"
VAULT_TESTS = f"{OF_SERVICES}test_vault.py"
VAULT_CONTRACT = "tests/contract/test_vault_store.py"
FILTER_TESTS = f"{OF_DOMAIN}test_vault_filters.py"
ALERT_TESTS = f"{OF_SERVICES}test_alerts.py"
ALERT_RULES = f"{OF_DOMAIN}test_alerts.py"
ALERT_CONTRACT = "tests/contract/test_alert_store.py"
TELLING = "tests/unit/events/test_usage_stream.py"
EXACTLY_ONCE = (
    f"{ALERT_TESTS}::"
    "test_a1_each_threshold_alerts_exactly_once_if_and_only_if_a_count_ever_reached_it"
)
STATEFUL = f"{OF_SERVICES}test_stateful.py::TestSessionsQuotaAndSubscription::runTest"

RULES = {
    "S1": "The first message of a conversation starts a session and counts one; follow-ups are "
    "free.",
    "S2": "A gap of 30:00 or more since the last arrival or delivery ends the session; "
    "29:59.999 does not. Timestamps decide, never the absence of an item.",
    "S3": "Racing first messages start one session; a retried request gets the first answer, "
    "counts nothing and calls no model.",
    "S4": "A session belongs to the period in which it started.",
    "S5": "A session in which no message was processed is not billed; nothing else counts.",
    "S6": "Sessions with managed models and with the customer's own keys both count.",
    "Q1": "In a period exactly `limit` sessions can start.",
    "Q2": "At the limit, running sessions go on.",
    "Q3": "A new period starts at zero by itself at 00:00:00 UTC on the 1st.",
    "P1": "An upgrade is seen by the very next request; the count is kept.",
    "P2": "A downgrade takes effect at the next period and can be taken back until then.",
    "P3": "A cancelled customer is served until the period ends, and is on `free` after it.",
    "P4": "No managed models on `free`; no provider without the credentials it needs.",
    "P6": "Customers move down, cancel and undo by themselves; nothing they do raises a tier or a "
    "limit, or takes back what others scheduled.",
    "A1": "Each threshold alerts once for a customer and period, if any count ever reached it, "
    "however the stream delivers.",
    "A2": "Everybody is told of an alert; a channel that fails stops no other, and repeats none.",
    "Payments": "The newest word of the payment provider decides, whatever the order, and only "
    "what the provider signed is read.",
    "BYOK": "Own credentials open for the customer and the provider they were stored for only, are "
    "shown masked, and are never replaced by a managed model.",
    "F1": "Beyond fair use requests are refused; nothing is counted and no session ended.",
    "F2": "What each customer's managed models cost is known, at the prices of the day and the "
    "place; every customer is in the report once, and whoever costs more than the set share of "
    "what it pays is counted and named.",
    "Own providers": "A customer's credentials reach their own provider only, a failure there has "
    "its own code, and nothing falls back to the operator's account.",
    "Ways out": "A host that a customer names is connected to only where each of its addresses is "
    "on the public Internet.",
    "V1": "A customer reaches no documents but its own, whatever it names.",
    "V2": "A document that has expired is nowhere, whether the store still has it or not.",
    "V3": "A conditional write changes nothing but the version it expects; a repeated write acts "
    "once.",
    "V4": "Filters mean what MongoDB means by them; nothing they find is left out in silence.",
    "Rollups": "The days add up to the sessions, whatever order they are told in, and however "
    "often.",
    "Caps": "A session takes exactly as many turns as its customer lets one have, and no message "
    "once its tokens are used; a raised cap holds for the very next message, and a crash takes no "
    "turn.",
    "Ceilings": "Beyond the customer's own ceiling no session starts where it is to block, running "
    "ones go on, and it is told once a period; it is lifted by the write that raises it.",
    "Webhooks": "An event is delivered at least once, in one series of attempts, by one worker at "
    "a time, signed with every secret in force.",
    "Failing closed": "When the stores cannot be reached admission is refused, and nothing is "
    "counted.",
}


@dataclass(frozen=True)
class Mutation:
    """One way to break a rule.

    Attributes
    ----------
    how
        What is wrong with the mutated code, for a reader of the table.
    old, new
        The text to replace, which occurs once in ``file``, and what replaces it.
    tests
        Ids of the tests each of which must fail.
    """

    rule: str
    how: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _mutation(
    rule: str, how: str, file: str, change: tuple[str, str], suite: str, *names: str
) -> Mutation:
    tests = tuple(name if "::" in name else f"{suite}::{name}" for name in names)
    return Mutation(rule, how, file, *change, tests)


MUTATIONS = (
    _mutation(
        "S1",
        "no session is ever alive, so that each message starts one",
        SESSIONS,
        ("return self.last_activity_at > activity_cutoff(now)", "return False"),
        RULES_OF_SESSIONS,
        "test_s1_follow_ups_are_free_however_many",
        "test_s1_six_messages_are_one_session",
    ),
    _mutation(
        "S1",
        "all conversations of an agent share one session",
        CONVERSATIONS,
        (
            "Conversation(exchange.caller.customer_id, command.agent, command.conversation_id)",
            'Conversation(exchange.caller.customer_id, command.agent, "default")',
        ),
        RULES_OF_SESSIONS,
        "test_s1_each_conversation_has_sessions_of_its_own",
    ),
    _mutation(
        "S2",
        "a session is still alive at 30:00 exactly",
        SESSIONS,
        (
            "self.last_activity_at > activity_cutoff(now)",
            "self.last_activity_at >= activity_cutoff(now)",
        ),
        RULES_OF_SESSIONS,
        "test_s2_a_gap_of_exactly_30_minutes_starts_a_new_session",
        f"{OF_DOMAIN}test_sessions.py::"
        "test_s2_a_gap_of_30_minutes_ends_a_session_and_a_shorter_one_does_not",
        STATEFUL,
    ),
    _mutation(
        "S2",
        "a session ends at 29:59.999",
        SESSIONS,
        (
            "INACTIVITY_LIMIT = timedelta(minutes=30)",
            "INACTIVITY_LIMIT = timedelta(minutes=30, milliseconds=-1)",
        ),
        f"{OF_DOMAIN}test_sessions.py",
        "test_s2_a_gap_of_30_minutes_ends_a_session_and_a_shorter_one_does_not",
        STATEFUL,
    ),
    _mutation(
        "S2",
        "the delivery of an answer is not activity",
        CONVERSATIONS,
        (
            "at=exchange.clock.now(),\n            route",
            "at=ticket.attempt.at,\n            route",
        ),
        RULES_OF_SESSIONS,
        "test_s2_the_gap_is_measured_from_the_delivery_of_the_answer",
    ),
    _mutation(
        "S2",
        "on DynamoDB: an item that expired and still exists is a live session",
        DYNAMODB_SESSIONS,
        (
            'f"last_activity_at > :cutoff AND last_activity_at <= :at{within_caps}"',
            'f":cutoff < :at AND last_activity_at <= :at{within_caps}"',
        ),
        CONTRACT,
        "test_s2_a_follow_up_at_29_59_999999_goes_on_and_one_at_30_00_does_not",
    ),
    _mutation(
        "S2",
        "on DynamoDB: a session's time to live is cut to the second before its end",
        DYNAMODB_CODEC,
        ("return number(ceil(moment.timestamp()))", "return number(int(moment.timestamp()))"),
        "tests/unit/adapters/test_time_to_live.py",
        "test_s2_no_session_is_deleted_in_the_last_second_of_its_thirty_minutes",
    ),
    _mutation(
        "S3",
        "whoever loses the race for a start tries to start again",
        ADMISSION,
        (
            "case SessionAlive():\n                return _Next.FOLLOW_UP",
            "case SessionAlive():\n                return _Next.START",
        ),
        RULES_OF_SESSIONS,
        "test_s3_fifty_racing_first_messages_of_one_conversation_start_one_session",
    ),
    _mutation(
        "S3",
        "on DynamoDB: a start replaces a session that is alive",
        DYNAMODB_SESSIONS,
        (
            "OR (last_activity_at <= :cutoff AND attribute_exists(processed_at))",
            "OR :cutoff = :cutoff",
        ),
        CONTRACT,
        "test_s3_fifty_racing_starts_of_one_conversation_are_one_session",
    ),
    _mutation(
        "S3",
        "a stored answer is found and not given",
        CONVERSATIONS,
        ("if exchange.claim is not None and exchange.claim.answer is not None:", "if False:"),
        RETRIES,
        "test_s3_a_retry_gets_the_first_answer_calls_no_model_and_counts_nothing",
        "test_s3_a_retry_after_the_session_ended_starts_no_new_one",
    ),
    _mutation(
        "S3",
        "the answer is not stored with the settlement",
        CONVERSATIONS,
        (
            "answer=document if exchange.claim is not None or run is not None else None",
            "answer=None",
        ),
        RETRIES,
        "test_s3_an_answer_settled_unseen_is_kept_for_the_retry",
        "test_s3_a_retry_in_the_next_period_counts_in_neither",
    ),
    _mutation(
        "S3",
        "another payload under the same key is answered with the first answer",
        CONVERSATIONS,
        ("if found.key.fingerprint != key.fingerprint:", "if False:"),
        RETRIES,
        "test_s3_the_same_key_with_another_payload_is_a_conflict",
        "test_s3_the_same_key_with_another_payload_is_a_conflict_while_the_first_runs",
    ),
    _mutation(
        "S3",
        "a key is taken over while its first request still runs",
        IDEMPOTENCY,
        ("self.answer is None and self.lease_until <= now", "self.answer is None"),
        RETRIES,
        "test_s3_a_repeat_while_the_first_still_runs_is_told_when_to_come_back",
        "test_s3_racing_repeats_call_the_model_once",
    ),
    _mutation(
        "S3",
        "the key of a killed request is never given up",
        IDEMPOTENCY,
        ("self.answer is None and self.lease_until <= now", "False"),
        RETRIES,
        "test_s3_a_killed_request_is_taken_over_when_it_cannot_be_running_any_more",
        f"{FAILURES}::"
        "test_s3_the_retry_of_a_request_killed_at_any_write_is_answered_and_counts_once",
    ),
    _mutation(
        "S3",
        "a failed request keeps its key until its lease is over",
        CONVERSATIONS,
        ("            self.drop(exchange)\n            raise", "            raise"),
        RETRIES,
        "test_s3_after_a_failure_a_retry_runs_at_once",
        "test_s3_a_refusal_is_not_remembered",
    ),
    _mutation(
        "S4",
        "a session ends with its period",
        SESSIONS,
        (
            "return self.last_activity_at > activity_cutoff(now)",
            "return self.last_activity_at > activity_cutoff(now) and now < self.period.end",
        ),
        RULES_OF_SESSIONS,
        "test_s4_a_session_across_the_end_of_a_period_belongs_to_the_one_it_started_in",
        "test_s4_a_session_kept_alive_through_a_whole_period_never_counts_in_it",
        STATEFUL,
    ),
    _mutation(
        "S4",
        "a session counts in the period in which it would end",
        ADMISSION,
        (
            "period = Period.containing(attempt.at)\n        try_follow_up",
            "period = Period.containing(attempt.at + timedelta(minutes=30))\n        try_follow_up",
        ),
        RULES_OF_SESSIONS,
        "test_s4_a_session_across_the_end_of_a_period_belongs_to_the_one_it_started_in",
        STATEFUL,
    ),
    _mutation(
        "S5",
        "a failure that is seen releases nothing",
        CONVERSATIONS,
        (
            "                self.withdraw(ticket, exchange.clock, budget)\n                raise",
            "                raise",
        ),
        FAILURES,
        "test_s5_a_session_whose_model_failed_is_released_at_once",
        "test_s5_tool_results_without_a_session_that_asked_for_them_count_nothing",
        STATEFUL,
    ),
    _mutation(
        "S5",
        "only the model's own errors release, not a bug and not a signal to stop",
        CONVERSATIONS,
        (
            "except BaseException:\n                # Also on",
            "except ModelTimeoutError:\n                # Also on",
        ),
        FAILURES,
        "test_s5_a_session_whose_model_failed_is_released_at_once",
    ),
    _mutation(
        "S5",
        "a session is released while another message of it is being answered",
        SESSIONS,
        (
            "return self.held and all(until <= now for until in self.in_flight.values())",
            "return self.held",
        ),
        FAILURES,
        "test_s5_a_failed_first_message_does_not_take_a_racing_second_with_it",
        "test_s5_a_session_with_one_dead_and_one_running_attempt_is_not_released",
        STATEFUL,
    ),
    _mutation(
        "S5",
        "a processed session is released when a later message fails",
        SESSIONS,
        ("return self.processed_at is None", "return True"),
        f"{OF_DOMAIN}test_sessions.py",
        "test_s5_a_processed_session_is_never_releasable",
        STATEFUL,
    ),
    _mutation(
        "S5",
        "a refusal does not look for crashed sessions",
        ADMISSION,
        (
            "if session.releasable(attempt.at) and self._release(session, attempt, budget)",
            "if False",
        ),
        FAILURES,
        "test_s5_a_crashed_session_counts_only_until_it_cannot_be_running_any_more",
        "test_s5_a_function_killed_at_any_write_leaves_a_count_that_is_right_or_rights_itself",
        STATEFUL,
    ),
    _mutation(
        "S5",
        "a crashed session that ended is not released before the next one starts",
        ADMISSION,
        (
            "        if held is not None:\n            self._release(held, attempt, budget)",
            "        del held, attempt, budget",
        ),
        FAILURES,
        "test_s5_a_crashed_session_that_ended_gives_way_to_the_next_of_its_conversation",
        STATEFUL,
    ),
    _mutation(
        "S5",
        "expiry releases nothing",
        EXPIRY,
        ("return self._sessions.release_expired(session, self._clock.now())", "return True"),
        FAILURES,
        "test_s5_expiry_releases_a_session_in_which_nothing_was_processed_once",
        STATEFUL,
    ),
    _mutation(
        "S5",
        "on DynamoDB: a release is done as often as it is asked for",
        DYNAMODB_SESSIONS,
        ('"attribute_exists(pk) AND attribute_not_exists(released_at)"', '"attribute_exists(pk)"'),
        CONTRACT,
        "test_s5_what_expiry_deleted_is_released_once_by_its_image",
    ),
    _mutation(
        "S6",
        "a session with an own key is given back as soon as it is answered",
        CONVERSATIONS,
        (
            "        self._settle(exchange, ticket, answer, document, run)\n",
            (
                "        if exchange.managed:\n"
                "            self._settle(exchange, ticket, answer, document, run)\n"
                "        else:\n"
                "            self.withdraw(ticket, exchange.clock, exchange.budget)\n"
            ),
        ),
        RULES_OF_SESSIONS,
        "test_s6_sessions_with_managed_models_and_with_own_keys_both_count",
        STATEFUL,
    ),
    _mutation(
        "S6",
        "a message that changes who pays starts a session of its own",
        CONVERSATIONS,
        (
            "Conversation(exchange.caller.customer_id, command.agent, command.conversation_id)",
            (
                "Conversation(exchange.caller.customer_id, command.agent, "
                "f'{command.conversation_id}{exchange.managed}')"
            ),
        ),
        RULES_OF_SESSIONS,
        "test_s6_changing_who_pays_for_the_model_stays_in_the_session",
    ),
    _mutation(
        "S3",
        "a deferred request runs as often as its message is delivered",
        DEFERRED_DOMAIN,
        ("if self.over or self.deadline <= now:", "if self.deadline <= now:"),
        DEFERRED_TESTS,
        "test_s3_a_message_that_is_delivered_twice_asks_the_model_once",
    ),
    _mutation(
        "S3",
        "on DynamoDB: a run begins while another may be going on",
        DYNAMODB_DEFERRED,
        ("OR (#status = :running AND run_until <= :now AND", "OR (#status = :running AND"),
        DEFERRED_CONTRACT,
        "test_s3_one_run_at_a_time",
    ),
    _mutation(
        "S3",
        "on DynamoDB: a run that is no longer the last settles its answer",
        DYNAMODB_DEFERRED,
        (
            '"ConditionExpression": "#status = :running AND run_id = :run"',
            '"ConditionExpression": "run_id = run_id OR (#status = :running AND run_id = :run)"',
        ),
        DEFERRED_CONTRACT,
        "test_s5_a_run_that_is_no_longer_the_last_settles_nothing",
    ),
    _mutation(
        "S5",
        "a deferred request whose model failed keeps its session",
        DEFERRED,
        (
            "_failure(error)), budget):\n            self._conversations.withdraw(",
            "_failure(error)), budget) is None:\n            self._conversations.withdraw(",
        ),
        DEFERRED_TESTS,
        "test_s5_a_failing_model_is_told_to_the_caller_and_not_billed",
        "test_s5_a_bug_is_not_billed_and_not_hidden",
    ),
    _mutation(
        "S5",
        "a request that could not be queued stays admitted",
        DEFERRED,
        (
            (
                "                self._conversations.withdraw(ticket, exchange.clock, budget)\n"
                "                raise"
            ),
            "                raise",
        ),
        DEFERRED_TESTS,
        "test_s5_a_queue_that_cannot_be_reached_leaves_nothing_behind",
    ),
    _mutation(
        "S6",
        "on DynamoDB: only sessions with managed models count",
        DYNAMODB_USAGE,
        (
            'values: dict[str, Any] = {":one": number(1)}',
            'values: dict[str, Any] = {":one": number(int(managed))}',
        ),
        CONTRACT,
        "test_s6_sessions_with_managed_models_and_with_own_keys_count_the_same",
    ),
    _mutation(
        "Q1",
        "a full quota is not refused while sessions are held",
        ADMISSION,
        ("        if released:\n            return", "        if held:\n            return"),
        RULES_OF_QUOTA,
        "test_q1_a_refusal_explains_itself",
    ),
    _mutation(
        "Q1",
        "on DynamoDB: one session more than the limit can start, also at a limit of zero",
        DYNAMODB_USAGE,
        ("sessions_used < session_limit", "sessions_used <= session_limit"),
        CONTRACT,
        "test_q1_the_start_after_the_last_is_refused",
        "test_q1_a_limit_of_zero_admits_nothing",
    ),
    _mutation(
        "Q1",
        "on DynamoDB: a start that is repeated after its answer was lost counts again",
        DYNAMODB_SESSIONS,
        (
            "    if head.session_id == session_id:\n        return Admitted(head, started=True)\n",
            "",
        ),
        CONTRACT,
        "test_s3_a_start_that_is_repeated_counts_once",
    ),
    _mutation(
        "Q1",
        "the limit a refusal states is not the one that is enforced",
        f"{_CORE}/domain/quota.py",
        ('"limit": self.usage.session_limit', '"limit": self.usage.sessions_remaining'),
        RULES_OF_QUOTA,
        "test_q1_a_refusal_explains_itself",
        f"{OF_DOMAIN}test_quota.py::test_a_refusal_says_what_is_used_held_and_when_it_resets",
    ),
    _mutation(
        "Q2",
        "a follow-up asks the quota",
        ADMISSION,
        (
            (
                "            case Admitted(session, started):\n"
                "                return Ticket(attempt, session, started)\n"
                "            case ManagedNotGranted"
            ),
            (
                "            case Admitted(session, started):\n"
                "                used = self._usage.period_usage(attempt.conversation.customer_id, "
                "period)\n"
                "                if used is not None and used.exhausted:\n"
                "                    self._refuse_unless_room_appears("
                "attempt, period, used, budget)\n"
                "                return Ticket(attempt, session, started)\n"
                "            case ManagedNotGranted"
            ),
        ),
        RULES_OF_QUOTA,
        "test_q2_at_the_limit_running_sessions_go_on_until_inactivity_ends_them",
        STATEFUL,
    ),
    _mutation(
        "Q3",
        "the month changes by local time, one hour late",
        PERIODS,
        (
            "utc = instant.astimezone(UTC)",
            "utc = instant - __import__('datetime').timedelta(hours=1)",
        ),
        f"{OF_DOMAIN}test_periods.py",
        "test_q3_a_period_begins_at_midnight_utc_on_the_first",
        f"{RULES_OF_QUOTA}::test_q3_a_new_period_starts_at_zero_at_midnight_by_itself",
    ),
    _mutation(
        "Q3",
        "a new period waits for something to open it",
        ADMISSION,
        (
            (
                "            case PeriodNotOpen():\n"
                "                self._refresh_entitlement(attempt, period, None, budget)"
            ),
            "            case PeriodNotOpen():\n                return _Next.START",
        ),
        RULES_OF_QUOTA,
        "test_q3_a_new_period_starts_at_zero_at_midnight_by_itself",
        "test_q3_racing_first_messages_of_a_period_open_it_once",
    ),
    _mutation(
        "P1",
        "a refusal does not ask whether the limit was raised meanwhile",
        ADMISSION,
        (
            (
                "        if self._refresh_entitlement(attempt, period, usage, budget):\n"
                "            return\n        held ="
            ),
            "        held =",
        ),
        RULES_OF_PLANS,
        "test_p1_an_upgrade_that_the_open_counter_has_not_seen_is_found_before_refusing",
    ),
    _mutation(
        "P1",
        "a refusal of managed models does not ask whether the tier was raised meanwhile",
        ADMISSION,
        (
            (
                "                if not self._refresh_entitlement("
                "attempt, period, usage, budget):\n"
                "                    raise _managed_refused(usage)"
            ),
            "                raise _managed_refused(usage)",
        ),
        RULES_OF_PLANS,
        "test_p1_an_upgrade_from_free_allows_managed_models_at_once",
    ),
    _mutation(
        "P1",
        "an upgrade waits for the next period",
        SUBSCRIPTIONS,
        (
            (
                "    if terms.raises(current):\n"
                "        return replace(settled, terms=terms, pending=None)\n"
            ),
            "",
        ),
        RULES_OF_PLANS,
        "test_p1_the_very_next_request_after_an_upgrade_sees_the_new_limit_and_keeps_the_count",
        STATEFUL,
    ),
    _mutation(
        "P1",
        "usage shows the entitlement of a counter that is behind the subscription",
        QUOTA,
        (
            "behind = counter.subscription_version < subscription.version",
            "behind = False",
        ),
        USAGE_TESTS,
        "test_p1_usage_shows_an_upgrade_that_the_counter_has_not_seen",
    ),
    _mutation(
        "P1",
        "a change that was decided after midnight leaves the month before it open",
        SUBSCRIPTION_SERVICE,
        (
            (
                "now = self._clocks.for_customer(customer_id).now()\n"
                "            self._closings.close_due(customer_id)\n"
            ),
            (
                "self._closings.close_due(customer_id)\n"
                "            now = self._clocks.for_customer(customer_id).now()\n"
            ),
        ),
        f"{OF_SERVICES}test_subscriptions.py",
        "test_p5_a_change_around_midnight_is_paid_for_in_the_months_it_was_granted_in",
    ),
    _mutation(
        "P2",
        "a downgrade takes effect at once",
        SUBSCRIPTIONS,
        ("if terms.raises(current):", "if True:"),
        RULES_OF_PLANS,
        "test_p2_a_downgrade_leaves_the_present_period_as_it_was_paid",
        f"{OF_DOMAIN}test_subscriptions.py::test_p2_a_downgrade_waits_for_the_next_period",
        STATEFUL,
    ),
    _mutation(
        "P2",
        "an upgrade leaves a pending downgrade waiting",
        SUBSCRIPTIONS,
        (
            "return replace(settled, terms=terms, pending=None)",
            "return replace(settled, terms=terms)",
        ),
        RULES_OF_PLANS,
        "test_p2_a_downgrade_is_undone_by_taking_it_back_or_by_an_upgrade",
        f"{OF_DOMAIN}test_subscriptions.py::test_p2_an_upgrade_clears_a_pending_downgrade",
        STATEFUL,
    ),
    _mutation(
        "P2",
        "a customer's downgrade takes effect at once",
        SUBSCRIPTIONS,
        (
            "PendingChange(terms, period.next(), Origin.CUSTOMER, covers)",
            "PendingChange(terms, period, Origin.CUSTOMER, covers)",
        ),
        CHANGES,
        "test_p2_a_customers_downgrade_waits_for_the_next_period",
        "test_every_order_of_four_acts_does_what_the_rules_say",
    ),
    _mutation(
        "P2",
        "a downgrade that took effect is taken back",
        SUBSCRIPTIONS,
        ("settled = _changing(subscription, Period.containing(now))", "settled = subscription"),
        CHANGES,
        "test_p2_what_took_effect_cannot_be_undone",
        "test_every_order_of_four_acts_does_what_the_rules_say",
    ),
    _mutation(
        "P3",
        "a cancellation never takes effect",
        SUBSCRIPTIONS,
        (
            "terms, waiting = waiting.terms, waiting.followed_by",
            "waiting = waiting.followed_by",
        ),
        RULES_OF_PLANS,
        "test_p3_after_a_cancellation_service_goes_on_until_the_period_ends",
        STATEFUL,
    ),
    _mutation(
        "P3",
        "a customer that cancels is moved to the least paid tier",
        SUBSCRIPTIONS,
        (
            "return schedule_downgrade(subscription, Tier.FREE, now)",
            "return schedule_downgrade(subscription, Tier.STARTER, now)",
        ),
        CHANGES,
        "test_p3_a_customers_cancellation_leads_to_free_and_is_called_one",
    ),
    _mutation(
        "P4",
        "every tier includes managed models",
        SUBSCRIPTIONS,
        ("return plan_for(self.tier).managed_models", "return True"),
        RULES_OF_PLANS,
        "test_p4_managed_models_on_free_are_refused_by_name_and_count_nothing",
        "test_p4_on_free_a_session_with_an_own_key_cannot_turn_to_managed_models",
        STATEFUL,
    ),
    _mutation(
        "P4",
        "a session that may use managed models may do so for ever",
        SESSIONS,
        (
            "return self.managed_until is not None and self.managed_until > now",
            "return self.managed_until is not None",
        ),
        RULES_OF_PLANS,
        "test_p4_a_session_that_straddles_a_cancellation_goes_on_with_own_keys_only",
    ),
    _mutation(
        "P4",
        "missing credentials mean the managed provider, whichever was asked for",
        PROVIDERS,
        (
            "        if provider.managed:\n            return None",
            "        if provider:\n            return None",
        ),
        RULES_OF_PLANS,
        "test_p4_a_byok_only_provider_without_credentials_is_refused",
    ),
    _mutation(
        "P6",
        "a customer moves itself up",
        SUBSCRIPTIONS,
        ("if tier.rank > granted.tier.rank:", "if False:"),
        CHANGES,
        "test_p6_a_customer_cannot_raise_its_own_tier",
        "test_every_order_of_four_acts_does_what_the_rules_say",
    ),
    _mutation(
        "P6",
        "a downgrade raises a contract's limit to the plan's",
        SUBSCRIPTIONS,
        ("min(Terms.of(tier).session_limit, *limits)", "Terms.of(tier).session_limit"),
        CHANGES,
        "test_p6_a_downgrade_never_raises_a_contracts_limit",
        "test_every_order_of_four_acts_does_what_the_rules_say",
    ),
    _mutation(
        "P6",
        "a customer softens a downgrade that others scheduled",
        SUBSCRIPTIONS,
        ("if tier.rank > granted.tier.rank:", "if tier.rank > current.tier.rank:"),
        CHANGES,
        "test_p6_a_customer_cannot_soften_what_others_scheduled",
        "test_every_order_of_four_acts_does_what_the_rules_say",
    ),
    _mutation(
        "P6",
        "a customer takes back what others scheduled",
        SUBSCRIPTIONS,
        ("if waiting.origin is not Origin.CUSTOMER:", "if False:"),
        CHANGES,
        "test_p6_a_customer_cannot_soften_what_others_scheduled",
        "tests/unit/http/test_billing_routes.py::"
        "test_p6_what_the_operator_scheduled_is_not_the_customers_to_take_back",
    ),
    _mutation(
        "P6",
        "undoing a change takes what others scheduled with it",
        SUBSCRIPTIONS,
        (
            "return replace(settled, pending=waiting.covers)",
            "return replace(settled, pending=None)",
        ),
        CHANGES,
        "test_p6_what_others_scheduled_comes_back_when_the_customer_undoes",
        "test_every_order_of_four_acts_does_what_the_rules_say",
    ),
    _mutation(
        "Payments",
        "the event that arrives last decides",
        PAYMENTS,
        ("return other is None or self.order > other.order", "return True"),
        "tests/unit/domain/test_payments.py",
        "test_an_older_word_never_undoes_a_newer_one",
        "test_of_one_second_the_word_that_can_follow_on_the_other_counts",
    ),
    _mutation(
        "Payments",
        "every failed collection begins the grace anew",
        PAYMENTS,
        ("for failure in self.failures[:1]]", "for failure in self.failures[-1:]]"),
        "tests/unit/domain/test_payments.py",
        "test_failing_again_does_not_begin_the_grace_anew",
    ),
    _mutation(
        "Payments",
        "what others had scheduled is forgotten when a payment fails",
        SUBSCRIPTIONS,
        ("return replace(change, covers=waiting)", "return change"),
        "tests/unit/domain/test_payments.py",
        "test_what_others_had_scheduled_outlives_a_failure_that_is_made_up_for",
    ),
    _mutation(
        "Payments",
        "a plan that is going to end keeps a smaller one from taking over before",
        SUBSCRIPTIONS,
        ("if own or waiting.effective_period < change.effective_period:", "if own:"),
        "tests/unit/domain/test_payments.py",
        "test_p2_a_smaller_plan_that_is_going_to_end_waits_for_its_month_and_ends_in_another",
        "test_p2_a_smaller_plan_that_cannot_be_collected_is_not_the_larger_one_for_another_month",
    ),
    _mutation(
        "Payments",
        "an event that was overtaken is written all the same",
        PAYMENT_SERVICE,
        ("if self._payments.standing(subscription_id) != standing:", "if False:"),
        "tests/unit/services/test_payments.py",
        "test_an_event_that_is_overtaken_leaves_the_last_word_to_the_newer_one",
    ),
    _mutation(
        "Payments",
        "a signature is good for ever",
        STRIPE_EVENTS,
        ("if abs(now - _signed_at(signature)) > TOLERANCE:", "if False:"),
        "tests/unit/adapters/test_stripe_events.py",
        "test_a_signature_is_good_for_five_minutes_either_way",
        "test_the_time_that_is_looked_at_is_the_one_that_was_signed",
    ),
    _mutation(
        "Payments",
        "a signature of anybody is good",
        STRIPE_EVENTS,
        ("if not any(_is_signed(body, signature, secret) for secret in secrets):", "if False:"),
        "tests/unit/adapters/test_stripe_events.py",
        "test_another_secret_than_ours_is_refused",
        "test_a_body_that_was_changed_on_the_way_is_refused",
    ),
    _mutation(
        "P4",
        "stored credentials are not looked for when managed models are refused",
        CONVERSATIONS,
        (
            "if not plan_for(caller.tier).managed_models:\n            raise",
            "if True:\n            raise",
        ),
        BYOK_TESTS,
        "test_p4_after_a_downgrade_stored_credentials_are_found_by_the_very_next_request",
        "test_byok_who_pays_depends_on_the_tier_in_force_and_never_on_the_one_believed",
    ),
    _mutation(
        "P1",
        "stored credentials keep managed models away until the caller's tier is up to date",
        CONVERSATIONS,
        ("return None if plan_for(tier).managed_models else stored", "return stored"),
        BYOK_TESTS,
        "test_p1_after_an_upgrade_stored_credentials_do_not_keep_managed_models_away",
        "test_byok_who_pays_depends_on_the_tier_in_force_and_never_on_the_one_believed",
    ),
    _mutation(
        "BYOK",
        "credentials are sealed without customer and provider",
        KMS,
        (
            "return {CUSTOMER_CONTEXT: customer_id, PROVIDER_CONTEXT: provider.value}",
            "return {}",
        ),
        CIPHER_CONTRACT,
        "test_byok_a_ciphertext_that_was_moved_cannot_be_opened",
        "test_byok_an_item_that_was_moved_in_the_table_is_of_no_use",
        "tests/unit/adapters/test_kms.py::"
        "test_byok_both_ways_name_the_key_the_customer_and_the_provider",
    ),
    _mutation(
        "BYOK",
        "the mask shows the value",
        STORED_CREDENTIALS,
        ('return f"…{value[-_SHOWN_CHARACTERS:]}"', "return value"),
        MASK_TESTS,
        "test_byok_a_mask_shows_at_most_the_last_four_of_twenty_characters",
        "test_byok_every_field_is_masked_but_names_that_are_no_secrets",
        f"{BYOK_TESTS}::test_byok_what_is_stored_is_sealed_and_listed_masked",
    ),
    _mutation(
        "BYOK",
        "the operator pays where own credentials were asked for and are not there",
        CONVERSATIONS,
        ("if stored is None and wanted:", "if False:"),
        BYOK_TESTS,
        "test_byok_own_credentials_that_were_asked_for_and_are_not_there_are_never_replaced_by_managed",
    ),
    _mutation(
        "BYOK",
        "who pays for a deferred message is decided anew when it is answered",
        DEFERRED,
        ("budget,\n            managed=request.managed,", "budget,\n            managed=None,"),
        DEFERRED_TESTS,
        "test_byok_who_pays_for_a_deferred_message_is_decided_when_it_is_sent",
        "test_byok_a_request_whose_credentials_are_gone_does_not_use_the_operators",
    ),
    _mutation(
        "P4",
        "a deferred message believes the caller's tier",
        DEFERRED,
        (
            "with_tier_in_force(caller, lambda who: self._submit(who, command, budget))",
            "self._submit(caller, command, budget)",
        ),
        DEFERRED_TESTS,
        "test_p4_after_a_downgrade_a_deferred_message_finds_stored_credentials_too",
    ),
    _mutation(
        "BYOK",
        "what cannot be decrypted counts as not stored",
        BYOK,
        (
            "        plaintext = self._cipher.decrypt(customer_id, provider, stored.ciphertext)",
            """
        try:
            plaintext = self._cipher.decrypt(customer_id, provider, stored.ciphertext)
        except Exception:
            return None
""",
        ),
        BYOK_TESTS,
        "test_byok_what_cannot_be_decrypted_is_an_error_and_never_managed",
        "test_byok_a_cipher_out_of_reach_refuses_and_is_never_managed",
    ),
    _mutation(
        "BYOK",
        "stored credentials win over those of the request",
        CONVERSATIONS,
        (
            "if command.credentials is not None:\n            return",
            "if False:\n            return",
        ),
        BYOK_TESTS,
        "test_byok_credentials_of_the_request_win_over_stored_ones",
    ),
    _mutation(
        "BYOK",
        "every managed message looks for stored credentials",
        CONVERSATIONS,
        ("if not wanted and plan_for(caller.tier).managed_models:", "if False:"),
        BYOK_TESTS,
        "test_byok_on_paid_tiers_managed_bedrock_stays_managed_and_nothing_is_looked_up",
    ),
    _mutation(
        "BYOK",
        "what was decrypted is kept for ever",
        BYOK,
        ("return timedelta(0) <= now - read_at < CACHE_LIFETIME", "return True"),
        BYOK_TESTS,
        "test_byok_deletion_and_rotation_are_seen_within_a_minute",
    ),
    _mutation(
        "F1",
        "requests are never too many",
        FAIR_USE,
        ("if requests.used >= limits.requests_per_minute:", "if False:"),
        FAIR_USE_TESTS,
        "test_f1_beyond_the_minutes_requests_nothing_is_counted_and_no_model_called",
        "test_f1_a_refusal_ends_no_session",
    ),
    _mutation(
        "F1",
        "managed tokens are not counted",
        FAIR_USE,
        ("used += tokens", "used += 0"),
        FAIR_USE_TESTS,
        "test_f1_the_managed_tokens_of_a_day_are_counted_by_answers",
    ),
    _mutation(
        "F1",
        "a refusal believes the tier in the authorizer's cache",
        CONVERSATIONS,
        ("        if tier is not caller.tier:", "        if False:"),
        FAIR_USE_TESTS,
        "test_f1_and_p1_a_refusal_first_makes_sure_of_the_tier",
    ),
    _mutation(
        "F2",
        "every day is charged at the newest price",
        PRICES,
        ("if line.price.since <= day]", "if True]"),
        PRICE_TESTS,
        "test_f2_a_day_is_charged_at_the_prices_that_held_on_it",
    ),
    _mutation(
        "F2",
        "a model costs the same everywhere",
        PRICES,
        ("return line.price if place is None else", "return line.price if True else"),
        PRICE_TESTS,
        "test_f2_the_price_is_that_of_the_place_where_the_model_is_called",
    ),
    _mutation(
        "F2",
        "customers' own keys are taken to cost the operator something",
        MARGIN,
        ("        if part.route.managed:", "        if True:"),
        MARGIN_TESTS,
        "test_f2_managed_tokens_are_what_a_customer_costs_and_own_keys_are_not",
    ),
    _mutation(
        "F2",
        "what has no price is taken to be free",
        MARGIN,
        ("ManagedUse(Decimal(0), part.talk, part.talk)", "ManagedUse(Decimal(0), part.talk)"),
        MARGIN_TESTS,
        "test_f2_tokens_without_a_price_are_told_apart_and_not_taken_to_be_free",
    ),
    _mutation(
        "F2",
        "the set share itself is too much already",
        MARGIN,
        (
            "self.use.cost * 100 * 100 > self.revenue_cents",
            "self.use.cost * 100 * 100 >= self.revenue_cents",
        ),
        MARGIN_TESTS,
        "test_f2_a_cost_above_the_set_share_of_the_price_is_of_interest",
    ),
    _mutation(
        "F2",
        "a step that was delivered twice does the next one",
        MARGINS,
        ("if run.step == number and", "if"),
        REPORT_TESTS,
        "test_f2_steps_killed_anywhere_repeated_and_reordered_give_the_same_report",
    ),
    _mutation(
        "F2",
        "costly customers are counted and not named",
        MARGINS,
        ("                tell(run, margin)", "                _ = tell"),
        REPORT_TESTS,
        "test_f2_who_costs_more_than_the_set_share_is_counted_and_told_of_by_name",
    ),
    _mutation(
        "F2",
        "on DynamoDB: a step is done as often as it is asked for",
        DYNAMODB_MARGINS,
        (
            "run_day = :day AND step = :step AND",
            "run_day = :day AND (step = :step OR step <> :step) AND",
        ),
        MARGIN_CONTRACT,
        "test_a_step_is_done_once",
    ),
    _mutation(
        "V1",
        "all customers' documents are in one partition",
        DYNAMODB_VAULT,
        ('return string(f"DOCUMENTS#{escaped(customer_id)}")', 'return string("DOCUMENTS")'),
        VAULT_CONTRACT,
        "test_collections_and_customers_never_meet",
    ),
    _mutation(
        "V1",
        "names of collections go into keys as they are",
        DYNAMODB_VAULT,
        ('return f"{escaped(collection.name)}#"', 'return f"{collection.name}#"'),
        VAULT_CONTRACT,
        "test_collections_and_customers_never_meet",
    ),
    _mutation(
        "V2",
        "what has expired is there as long as the store has it",
        VAULT_DOCUMENTS,
        (
            "return self.expires_at is None or self.expires_at > now",
            "return True",
        ),
        VAULT_TESTS,
        "test_an_expired_document_is_nowhere_though_the_store_has_it",
    ),
    _mutation(
        "V2",
        "on DynamoDB: an expired document still meets the version that a write expects",
        DYNAMODB_VAULT,
        ('condition = f"version = :version AND {_LIVE}"', 'condition = "version = :version"'),
        VAULT_CONTRACT,
        "test_what_has_expired_is_absent_for_a_put",
    ),
    _mutation(
        "V3",
        "any version will do",
        VAULT_DOCUMENTS,
        ("found.version == self.version", "found.version != self.version"),
        VAULT_TESTS,
        "test_a_write_on_another_version_changes_nothing",
        "test_a_write_on_the_present_version_takes_place",
    ),
    _mutation(
        "V3",
        "an increment that may have been made is made again",
        VAULT,
        ("if command.repeatable or receipt is not None:", "if True:"),
        VAULT_TESTS,
        "test_an_increment_whose_answer_was_lost_is_not_made_again",
    ),
    _mutation(
        "V3",
        "the answer to a repeat is looked for after the document",
        VAULT,
        (
            "return None if found is None or found.expires_at <= now else _repeat(found, wanted)",
            "return None",
        ),
        VAULT_TESTS,
        "test_a_repeat_gets_the_first_answer_whatever_happened_since",
    ),
    _mutation(
        "V4",
        "values of different types are compared",
        VAULT_FILTERS,
        ("if kind_of(value) is not self.key[0]:", "if value is None:"),
        FILTER_TESTS,
        "test_a_filter_does_not_find",
        "test_filters_agree_with_the_reference",
    ),
    _mutation(
        "V4",
        "what a request had no time to read is left out",
        VAULT_QUERIES,
        (
            "        if search.ended:\n            return _found(found, None)",
            "        if search.ended or query.whole:\n            return _found(found, None)",
        ),
        VAULT_TESTS,
        "test_what_does_not_fit_one_request_is_paged_or_refused_and_never_cut",
        "test_an_answer_has_no_more_bytes_than_lambda_returns",
    ),
    _mutation(
        "V4",
        "a collection that could not be read to the end is sorted all the same",
        VAULT_QUERIES,
        (
            "        if not search.ended:\n            raise SortTooLargeError(",
            "        if False:\n            raise SortTooLargeError(",
        ),
        VAULT_TESTS,
        "test_what_cannot_be_sorted_whole_is_not_sorted_in_part",
    ),
    _mutation(
        "Rollups",
        "what is told is added, whatever the record knows",
        SESSIONS,
        ("added = talk - known.get(route, Talk())", "added = talk"),
        ROLLUP_TESTS,
        "test_any_order_repetition_batch_and_crash_gives_the_sums_of_the_sessions",
    ),
    _mutation(
        "Rollups",
        "a session counts again with each message",
        SESSIONS,
        ("opened = int(not known and route", "opened = int(route"),
        ROLLUP_TESTS,
        "test_any_order_repetition_batch_and_crash_gives_the_sums_of_the_sessions",
    ),
    _mutation(
        "Rollups",
        "the state that comes last is taken for the latest",
        ROLLUPS,
        ("session.talk.messages > known.talk.messages", "True"),
        ROLLUP_TESTS,
        "test_of_each_session_the_latest_state_counts_whatever_the_order",
    ),
    _mutation(
        "Rollups",
        "a session that was released is added",
        SESSIONS,
        ("return self.record.counted and", "return"),
        ROLLUP_TESTS,
        "test_s5_a_session_that_was_released_never_appears",
    ),
    _mutation(
        "Rollups",
        "what another worker got on with is left out",
        ROLLUPS,
        ("                if remaining:\n", "                if not remaining:\n"),
        ROLLUP_TESTS,
        "test_an_erasure_between_reading_and_adding_brings_nothing_back",
        "test_any_order_repetition_batch_and_crash_gives_the_sums_of_the_sessions",
    ),
    _mutation(
        "Rollups",
        "on DynamoDB: what was read may have moved on",
        DYNAMODB_ROLLUPS,
        ("attribute_not_exists(released_at) AND {as_read}", "attribute_not_exists(released_at)"),
        ROLLUP_CONTRACT,
        "test_adding_again_from_what_was_read_before_adds_nothing",
        "test_two_workers_at_once_add_a_session_once",
    ),
    _mutation(
        "Rollups",
        "on DynamoDB: an erased customer's record comes back",
        DYNAMODB_ROLLUPS,
        ('f"attribute_exists(pk) AND attribute_not', 'f"attribute_not'),
        ROLLUP_CONTRACT,
        "test_a_session_without_a_record_is_not_added",
    ),
    _mutation(
        "Rollups",
        "on DynamoDB: names with signs of the key meet",
        DYNAMODB_ROLLUPS,
        ('"#".join(escaped(name) for name in', '"#".join(name for name in'),
        ROLLUP_CONTRACT,
        "test_names_that_customers_choose_never_meet_in_a_key",
    ),
    _mutation(
        "Rollups",
        "a session that fails is not reported",
        ROLLUP_STREAM,
        ("if isinstance(state, Session) else state", "if isinstance(state, str) else None"),
        ROLLUP_STREAM_TESTS,
        "test_every_record_of_a_session_that_fails_is_reported_and_no_other",
        "test_a_record_that_cannot_be_read_is_reported_and_stops_no_other",
    ),
    _mutation(
        "P4",
        "every tier sees usage by agent and model",
        HISTORY,
        ("tier.rank < Tier.PROFESSIONAL.rank", "False"),
        HISTORY_TESTS,
        "test_p4_parts_are_for_professional_and_enterprise",
    ),
    _mutation(
        "Caps",
        "a session takes one turn more than its cap",
        OWN_LIMITS,
        ("session.turns >= self.turns", "session.turns > self.turns"),
        OWN_LIMIT_TESTS,
        "test_a_session_takes_exactly_as_many_turns_as_its_cap",
        "test_of_50_racing_messages_of_a_session_exactly_its_cap_are_admitted",
    ),
    _mutation(
        "Caps",
        "on DynamoDB: the cap on turns is no condition of joining",
        DYNAMODB_SESSIONS,
        ("(attribute_not_exists(turns) OR turns < :turn_cap)", ":turn_cap = :turn_cap"),
        OWN_LIMIT_CONTRACT,
        "test_of_racing_attempts_exactly_the_cap_joins",
        "test_the_turn_after_the_cap_finds_the_session_capped_and_as_it_was",
    ),
    _mutation(
        "Caps",
        "on DynamoDB: the cap on tokens is no condition of joining",
        DYNAMODB_SESSIONS,
        (
            "(attribute_not_exists(tokens_used) OR tokens_used < :token_cap)",
            ":token_cap = :token_cap",
        ),
        OWN_LIMIT_CONTRACT,
        "test_the_message_after_the_token_cap_finds_the_session_capped",
    ),
    _mutation(
        "Caps",
        "on DynamoDB: a message that joins again takes another turn",
        DYNAMODB_SESSIONS,
        ('" AND attribute_not_exists(in_flight.#attempt)", {', '" AND :one = :one", {'),
        OWN_LIMIT_CONTRACT,
        "test_an_attempt_that_joins_twice_is_one_turn",
    ),
    _mutation(
        "Caps",
        "on DynamoDB: a message that failed keeps its turn",
        DYNAMODB_SESSIONS,
        ('{":minus_one": number(-1)}', '{":minus_one": number(0)}'),
        OWN_LIMIT_CONTRACT,
        "test_an_attempt_that_leaves_was_no_turn",
    ),
    _mutation(
        "Caps",
        "a refusal trusts the caps that the authorizer told",
        ADMISSION,
        (
            "reached = limits.caps.reached_by(session)",
            "reached = attempt.caps.reached_by(session)",
        ),
        OWN_LIMIT_TESTS,
        "test_a_raised_cap_holds_for_the_very_next_message",
        "test_a_raised_token_cap_holds_for_the_very_next_message",
        "test_a_raised_cap_is_exact_for_those_who_still_know_the_old_one",
    ),
    _mutation(
        "Caps",
        "a message whose function was killed keeps its turn",
        SESSIONS,
        ("for attempt, until in self.in_flight.items() if until <= now]", "for attempt in ()]"),
        OWN_LIMIT_TESTS,
        "test_a_message_killed_at_any_call_takes_a_turn_no_longer_than_it_can_run",
        "test_a_message_that_still_runs_takes_its_turn",
        "test_racing_messages_that_find_dead_ones_take_exactly_their_turns",
    ),
    _mutation(
        "Caps",
        "the doors pass no caps on",
        DOORS,
        ("read_caps(found)", "read_caps({})"),
        BUDGET_ROUTE_TESTS,
        "test_a_cap_on_turns_holds_at_every_door",
        "test_a_cap_on_tokens_holds_at_every_door",
        "test_a_cap_of_one_admits_the_first_message_at_every_door",
    ),
    _mutation(
        "Ceilings",
        "a ceiling is not reached at its last fraction of a cent",
        OWN_LIMITS,
        (
            "return self._exact_cents >= ceiling_cents",
            "return self._exact_cents > ceiling_cents",
        ),
        OWN_LIMIT_TESTS,
        "test_a_ceiling_is_reached_at_its_last_fraction_of_a_cent",
    ),
    _mutation(
        "Ceilings",
        "managed models count as if the customer paid for them",
        OWN_LIMITS,
        ("if part.route.managed:", "if False:"),
        OWN_LIMIT_TESTS,
        "test_the_plan_and_an_estimate_of_own_providers_is_what_is_spent",
    ),
    _mutation(
        "Ceilings",
        "on DynamoDB: a block keeps nothing from starting",
        DYNAMODB_USAGE,
        ('" AND attribute_not_exists(budget_block)"', '""'),
        OWN_LIMIT_CONTRACT,
        "test_a_block_keeps_sessions_from_starting_until_it_is_lifted",
    ),
    _mutation(
        "Ceilings",
        "on DynamoDB: a late judgement blocks after the ceiling was raised",
        DYNAMODB_OWN_LIMITS,
        (
            "            **_still(limits),",
            '            "ConditionExpression": "attribute_exists(pk)",',
        ),
        OWN_LIMIT_CONTRACT,
        "test_a_ceiling_that_was_changed_meanwhile_is_not_noted",
    ),
    _mutation(
        "Ceilings",
        "on DynamoDB: what tells of a ceiling changes when it is reached again",
        DYNAMODB_OWN_LIMITS,
        ("reached = if_not_exists(reached, :reached)", "reached = :reached"),
        OWN_LIMIT_CONTRACT,
        "test_on_dynamodb_a_ceiling_is_told_by_one_item_that_never_changes",
    ),
    _mutation(
        "Webhooks",
        "an attempt is made while another worker may be making it",
        WEBHOOK_WORKER,
        ("if delivery.busy_at(now):", "if False:"),
        DELIVERY_TESTS,
        "test_two_workers_never_make_the_same_attempt_at_once",
        "test_an_attempt_whose_worker_died_is_made_again_after_its_lease",
    ),
    _mutation(
        "Webhooks",
        "a worker that was killed before it asked for the next step is not made up for",
        WEBHOOK_WORKER,
        ("if delivery.worker == message_id:", "if False:"),
        DELIVERY_TESTS,
        "test_a_kill_between_any_two_calls_neither_loses_nor_doubles_a_delivery",
        "test_a_kill_around_the_last_attempt_loses_no_dead_letter",
    ),
    _mutation(
        "Webhooks",
        "a message is taken at its word, whatever was done before",
        WEBHOOK_WORKER,
        ("if delivery.over or step != delivery.next_step:", "if False:"),
        DELIVERY_TESTS,
        "test_an_event_that_is_sent_twice_is_delivered_in_one_series",
        "test_messages_that_come_again_and_late_make_no_attempt_twice",
    ),
    _mutation(
        "Webhooks",
        "what is given up leaves no dead letter",
        WEBHOOK_WORKER,
        ("if delivery.exhausted:", "if False:"),
        DELIVERY_TESTS,
        "test_after_the_last_attempt_it_has_failed_and_is_among_the_dead_letters",
        "test_a_dead_letter_that_is_redriven_begins_another_series_of_the_same_event",
    ),
    _mutation(
        "Webhooks",
        "a server that is gone is told the next event",
        WEBHOOK_WORKER,
        ("if reply.failure is Failure.GONE:", "if False:"),
        DELIVERY_TESTS,
        "test_a_receiver_that_is_gone_switches_its_webhook_off",
    ),
    _mutation(
        "Webhooks",
        "a delivery that was begun is forgotten with its webhook",
        WEBHOOK_WORKER,
        ("return self.go_on(step, message_id)", "return None"),
        DELIVERY_TESTS,
        "test_a_first_attempt_that_was_cut_off_ends_with_its_webhook",
    ),
    _mutation(
        "Webhooks",
        "a rotated secret stops signing at once",
        WEBHOOKS_DOMAIN,
        ("end = now + OVERLAP", "end = now"),
        WEBHOOK_DOMAIN_TESTS,
        "test_an_old_secret_signs_for_a_day_beside_the_new_one",
    ),
    _mutation(
        "Webhooks",
        "a delivery that goes on is begun again when its customer asks",
        WEBHOOKS,
        ("if not delivery.over and not delivery.lost_at(now):", "if False:"),
        WEBHOOK_TESTS,
        "test_one_redelivery_of_an_event_goes_on_at_a_time",
    ),
    _mutation(
        "Webhooks",
        "on DynamoDB: a step is taken by everybody who asks",
        DYNAMODB_WEBHOOKS,
        (
            '"ConditionExpression": "version = :version",',
            '"ConditionExpression": "version = :version OR attribute_exists(pk)",',
        ),
        WEBHOOK_CONTRACT,
        "test_a_step_is_taken_once_and_repeating_it_says_so",
        "test_of_many_workers_one_takes_a_step",
    ),
    _mutation(
        "Webhooks",
        "on DynamoDB: a delivery is written of a customer who is gone",
        DYNAMODB_WEBHOOKS,
        (
            "            endpoint_exists(self._accounts_table, event.customer_id),\n",
            "",
        ),
        WEBHOOK_CONTRACT,
        "test_without_an_endpoint_nothing_is_added",
    ),
    _mutation(
        "Failing closed",
        "a start whose answer never came is left counted",
        ADMISSION,
        ("            self._withdraw(attempt, at, budget)\n            raise", "            raise"),
        FAILURES,
        "test_a_start_that_took_effect_unseen_is_taken_back_when_time_runs_out",
        "test_a_follow_up_that_took_effect_unseen_leaves_nothing_in_flight",
    ),
    _mutation(
        "Failing closed",
        "retries go on until no time is left for the model",
        ADMISSION,
        ("_MODEL_RESERVE_SECONDS = 12.0", "_MODEL_RESERVE_SECONDS = 0.0"),
        FAILURES,
        "test_retries_stop_while_there_is_still_time_for_the_model",
    ),
    _mutation(
        "Own providers",
        "Bedrock with own keys is asked with the operator's",
        PROVIDER_CLIENTS,
        (
            "if credentials is None:\n            return self._bedrock.managed()",
            "if provider.managed:\n            return self._bedrock.managed()",
        ),
        PROVIDER_TESTS,
        "test_s6_bedrock_with_own_keys_is_never_the_operators",
    ),
    _mutation(
        "Own providers",
        "the role of another customer is assumed",
        PROVIDERS,
        ('if credentials.values["external_id"] != own:', "if not own:"),
        "tests/unit/services/test_own_providers.py",
        "test_the_role_of_another_customer_is_refused_before_anything_is_counted",
        f"{OF_DOMAIN}test_providers.py::"
        "test_a_role_is_assumed_for_the_customer_that_it_trusts_and_for_no_other",
    ),
    _mutation(
        "Own providers",
        "a key that the provider refuses is a request that it refuses",
        MODEL_FAILURES,
        ("frozenset({401, 402, 403})", "frozenset({402, 403})"),
        PROVIDER_TESTS,
        "test_s5_each_failure_has_its_own_class_and_the_model_is_called_once",
    ),
    _mutation(
        "Own providers",
        "a provider's text is shown with the credentials that it echoes",
        MODEL_FAILURES,
        ("for secret in self.secrets:", "for secret in ():"),
        PROVIDER_TESTS,
        "test_the_providers_words_are_bounded_and_hold_nothing_private",
    ),
    _mutation(
        "Own providers",
        "of two secrets the shorter one is withheld first, and leaves a part of the other",
        MODEL_FAILURES,
        ("secrets.sort(key=len, reverse=True)", "secrets.sort(key=len)"),
        PROVIDER_TESTS,
        "test_a_secret_that_is_part_of_another_leaves_nothing_of_it_behind",
    ),
    _mutation(
        "Ways out",
        "only the first address of a host is looked at",
        EGRESS,
        ("for text in found:", "for text in found[:1]:"),
        EGRESS_TESTS,
        "test_one_bad_address_refuses_the_host_and_nothing_is_opened",
    ),
    _mutation(
        "Ways out",
        "the connection is made by name, which is resolved again",
        EGRESS_TRANSPORT,
        (
            "address, port, seconds, local_address, socket_options",
            "host, port, seconds, local_address, socket_options",
        ),
        EGRESS_TESTS,
        "test_a_name_that_resolves_differently_the_second_time_is_not_asked_a_second_time",
    ),
    _mutation(
        "Ways out",
        "an IPv6 address may embed a private one",
        EGRESS,
        ("public = address in _GLOBAL_V6 and not", "public = not"),
        EGRESS_TESTS,
        "test_a_hostile_url_is_refused_as_it_is_written",
        "test_one_bad_address_refuses_the_host_and_nothing_is_opened",
    ),
    _mutation(
        "Ways out",
        "a redirect leads anywhere",
        EGRESS_TRANSPORT,
        ("follow_redirects=False", "follow_redirects=True"),
        EGRESS_TESTS,
        "test_redirects_are_not_followed",
    ),
    _mutation(
        "A1",
        "a threshold is reached only when more than its share is used",
        ALERTS_DOMAIN,
        (
            "sessions_used * 100 >= session_limit * threshold",
            "sessions_used * 100 > session_limit * threshold",
        ),
        ALERT_RULES,
        "test_a1_a_threshold_is_reached_at_its_share_exactly",
        "test_a1_whole_numbers_decide_as_fractions_do",
        f"{ALERT_TESTS}::test_a1_each_start_past_a_threshold_alerts_once",
    ),
    _mutation(
        "A1",
        "a limit of zero is reached where nothing is used",
        ALERTS_DOMAIN,
        ("return sessions_used > 0 and sessions_used * 100", "return sessions_used * 100"),
        ALERT_RULES,
        "test_a1_a_threshold_is_reached_at_its_share_exactly",
        f"{ALERT_TESTS}::test_a1_a_limit_of_zero_is_nothing_to_tell",
    ),
    _mutation(
        "A1",
        "of a batch only the last count is looked at",
        ALERTS_DOMAIN,
        ("for count in sorted(counts, key", "for count in sorted([*counts][-1:], key"),
        ALERT_RULES,
        "test_a1_several_counts_reach_each_threshold_with_the_first_that_does",
        f"{ALERT_TESTS}::test_a1_the_highest_count_matters_whatever_came_before_it",
        EXACTLY_ONCE,
    ),
    _mutation(
        "A1",
        "of the thresholds that a batch passes only the highest alerts",
        ALERTS,
        (
            "return [alert for alert in alerts if self._keep(alert)]",
            "return [alert for alert in alerts[-1:] if self._keep(alert)]",
        ),
        ALERT_TESTS,
        "test_a1_a_batch_that_jumps_past_several_thresholds_alerts_for_each",
        EXACTLY_ONCE,
    ),
    _mutation(
        "A1",
        "what is remembered of one customer holds for all",
        ALERTS,
        (
            "if (customer_id, period, threshold) not in self._kept",
            "if all(threshold != kept[2] for kept in self._kept)",
        ),
        ALERT_TESTS,
        "test_a1_customers_and_periods_have_alerts_of_their_own",
        EXACTLY_ONCE,
    ),
    _mutation(
        "A1",
        "an alert is remembered before it is kept",
        ALERTS,
        (
            "        kept = self._alerts.keep(alert)\n",
            (
                "        self._kept.add((alert.customer_id, alert.period, alert.threshold))\n"
                "        kept = self._alerts.keep(alert)\n"
            ),
        ),
        ALERT_TESTS,
        "test_a1_an_alert_that_could_not_be_kept_is_tried_again_by_the_same_function",
    ),
    _mutation(
        "A1",
        "one alert a customer and threshold, for all periods",
        DYNAMODB_ALERTS,
        (
            'string(f"{ALERT_PREFIX}{period.name}#{threshold:03d}")',
            'string(f"{ALERT_PREFIX}{threshold:03d}")',
        ),
        ALERT_CONTRACT,
        "test_the_alerts_of_a_period_are_listed_by_threshold_and_are_nobody_elses",
    ),
    _mutation(
        "A1",
        "on DynamoDB: a later alert replaces the first",
        DYNAMODB_ALERTS,
        (
            (
                '"Item": encode_alert(alert),\n            "ConditionExpression": '
                '"attribute_not_exists(pk)"'
            ),
            (
                '"Item": encode_alert(alert),\n            "ConditionExpression": '
                '"attribute_not_exists(absent)"'
            ),
        ),
        ALERT_CONTRACT,
        "test_a1_of_an_alert_the_first_is_kept",
        "test_a1_an_alert_that_was_told_of_is_not_kept_anew",
        "test_a1_of_many_who_keep_an_alert_at_once_one_does",
    ),
    _mutation(
        "A1",
        "what is taken back in a closed period alerts",
        USAGE_STREAM,
        ("return count if count.closed_at is None else None", "return count"),
        ALERT_TESTS,
        "test_a1_what_is_written_to_a_closed_period_is_no_count",
    ),
    _mutation(
        "A1",
        "on DynamoDB: a late count leaves an alert of a customer that was erased",
        DYNAMODB_ALERTS,
        (
            (
                '"Key": erasure_key(customer_id),\n            "ConditionExpression": '
                '"attribute_not_exists(pk)"'
            ),
            (
                '"Key": erasure_key(customer_id),\n            "ConditionExpression": '
                '"attribute_not_exists(absent)"'
            ),
        ),
        ALERT_CONTRACT,
        "test_of_a_customer_that_is_being_erased_no_alert_is_kept",
    ),
    _mutation(
        "A2",
        "a channel that fails stops the others",
        ANNOUNCING,
        ("            failures.append(failure)", "            raise failure"),
        TELLING,
        "test_a2_a_channel_that_fails_stops_no_other_and_is_told_later_alone",
    ),
    _mutation(
        "A2",
        "a channel that fails has the others told again",
        ANNOUNCING,
        (" for each in self._channels if each not in told]", " for each in self._channels]"),
        TELLING,
        "test_a2_a_channel_that_fails_stops_no_other_and_is_told_later_alone",
        "test_a2_everybody_is_told_of_an_alert_once",
        "test_a2_without_a_kill_each_channel_is_told_exactly_once_however_often_others_fail",
    ),
    _mutation(
        "A2",
        "a failure is kept quiet, and the record is not delivered again",
        ANNOUNCING,
        ("    if failures:", "    if not failures and steps is None:"),
        TELLING,
        "test_a2_a_channel_that_fails_stops_no_other_and_is_told_later_alone",
        "test_a_statement_that_the_bus_refuses_is_reported_and_stops_no_other",
    ),
    _mutation(
        "A2",
        "a channel is noted before it is told",
        ANNOUNCING,
        (
            "self._channels[channel](alert)\n",
            "self._alerts.mark_told(alert, channel)\n        self._channels[channel](alert)\n",
        ),
        TELLING,
        "test_a2_a_channel_that_fails_stops_no_other_and_is_told_later_alone",
        "test_a2_a_function_killed_at_any_call_tells_everybody_and_one_channel_twice_at_most",
    ),
)


@dataclass(frozen=True)
class Trap:
    """A bug that other metering systems had, and the tests that keep it out of this one."""

    bug: str
    tests: tuple[str, ...]


TRAPS = (
    Trap(
        "Concurrent calls pass the limit before the spend is recorded, first requests above all",
        (
            f"{RULES_OF_QUOTA}::test_q1_exactly_limit_of_200_racing_conversations_start",
            f"{RULES_OF_QUOTA}::test_q3_racing_first_messages_of_a_period_open_it_once",
        ),
    ),
    Trap(
        "One way in skips the limit",
        (
            f"{RULES_OF_QUOTA}::test_q1_exactly_limit_sessions_start_and_the_next_is_refused",
            f"{DEFERRED_TESTS}::test_q1_a_deferred_message_is_refused_by_the_quota_at_once",
            f"{BUDGET_ROUTE_TESTS}::test_a_cap_on_turns_holds_at_every_door",
            f"{BUDGET_ROUTE_TESTS}::test_a_block_holds_at_every_door",
            f"{OPENAI_TESTS}::test_q1_at_the_limit_the_error_is_theirs_and_not_worth_repeating",
            (
                f"{RULES_OF_SESSIONS}::"
                "test_s1_the_outcome_does_not_depend_on_which_write_is_tried_first"
            ),
        ),
    ),
    Trap(
        "Reservations leaked by crashes become refusals that nobody can explain",
        (
            (
                f"{FAILURES}::"
                "test_s5_a_crashed_session_counts_only_until_it_cannot_be_running_any_more"
            ),
            (
                f"{FAILURES}::test_s5_a_function_killed_at_any_write_leaves_a_count_that_is_right_"
                "or_rights_itself"
            ),
        ),
    ),
    Trap(
        "A failed clean-up counts the reservation and the actual",
        (
            f"{FAILURES}::test_s5_a_release_whose_answer_was_lost_is_not_done_twice",
            (
                f"{FAILURES}::"
                "test_a_settlement_that_took_effect_unseen_is_neither_released_nor_counted_again"
            ),
        ),
    ),
    Trap(
        "Streamed calls record nothing",
        (f"{OPENAI_TESTS}::test_s5_a_streamed_answer_is_recorded_as_any_other",),
    ),
    Trap(
        "The reset misses somebody, wipes live use, or leaves a stale cache",
        (
            f"{RULES_OF_QUOTA}::test_q3_a_new_period_starts_at_zero_at_midnight_by_itself",
            f"{RULES_OF_QUOTA}::test_q3_a_period_in_which_nothing_happened_needs_no_opening",
        ),
    ),
    Trap(
        "The marker against duplicates is written before the effect, so a retry meters nothing",
        (
            f"{RETRIES}::test_s3_marker_and_effect_are_one_write",
            (
                f"{FAILURES}::"
                "test_s3_the_retry_of_a_request_killed_at_any_write_is_answered_and_counts_once"
            ),
        ),
    ),
    Trap(
        "One session is billed several times; messages of the same second at the time-out make "
        "duplicates",
        (
            f"{RULES_OF_SESSIONS}::test_s3_racing_messages_after_the_time_out_start_one_session",
            (
                f"{RULES_OF_SESSIONS}::"
                "test_s3_fifty_racing_first_messages_of_one_conversation_start_one_session"
            ),
        ),
    ),
    Trap(
        "An immediate downgrade cuts what was paid for",
        (
            f"{RULES_OF_PLANS}::test_p2_a_downgrade_leaves_the_present_period_as_it_was_paid",
            (
                f"{OF_DOMAIN}test_subscriptions.py::"
                "test_every_change_raises_the_version_and_never_lowers_the_present_terms"
            ),
        ),
    ),
    Trap(
        "A projection ignores the reset",
        (
            f"{FORECASTS}::test_a_new_period_starts_at_zero_and_keeps_the_pace",
            f"{ADVICE}::test_the_last_period_is_not_counted_against_this_ones_limit",
        ),
    ),
    Trap(
        "An alert on every request, or only one for all customers",
        (
            f"{ALERT_TESTS}::test_a1_records_that_come_again_alert_no_more",
            f"{ALERT_TESTS}::test_a1_customers_and_periods_have_alerts_of_their_own",
            EXACTLY_ONCE,
        ),
    ),
    Trap(
        "Expired items are still returned, typically for days",
        (f"{RULES_OF_SESSIONS}::test_s2_an_expired_item_that_still_exists_is_not_a_live_session",),
    ),
    Trap(
        "An increment that is retried after a time-out counts twice",
        (
            f"{RULES_OF_QUOTA}::test_q1_exactly_limit_of_200_start_while_a_third_of_the_calls_fail",
            (
                f"{RULES_OF_QUOTA}::"
                "test_q1_the_count_is_exact_whatever_fails_and_whenever_time_runs_out"
            ),
            f"{CONTRACT}::test_s3_a_start_that_is_repeated_counts_once",
        ),
    ),
    Trap(
        "A quota in several shards admits more than the limit",
        (f"{RULES_OF_QUOTA}::test_q1_exactly_limit_of_200_racing_conversations_start",),
    ),
    Trap(
        "An idempotency layer lets a second request run after a function was killed",
        (
            f"{RETRIES}::test_s3_a_killed_request_is_taken_over_when_it_cannot_be_running_any_more",
            f"{RETRIES}::test_s3_racing_retries_of_a_killed_request_call_the_model_once",
            f"{RETRIES}::test_s3_a_request_whose_key_was_taken_over_meanwhile_is_not_delivered",
        ),
    ),
    Trap(
        "A limit of zero still admits one",
        (
            f"{RULES_OF_QUOTA}::test_q1_exactly_limit_sessions_start_and_the_next_is_refused",
            f"{CONTRACT}::test_q1_a_limit_of_zero_admits_nothing",
            f"{BUDGET_ROUTE_TESTS}::test_a_cap_of_one_admits_the_first_message_at_every_door",
        ),
    ),
)


def document() -> str:
    """Return ``docs/rules.md``."""
    return "\n".join(
        [
            "# The rules, their tests, and how each was seen to fail",
            "",
            (
                "Written by `python -m tests.mutations --write`; `python -m tests.mutations` "
                "breaks each rule in a copy of the repository and makes sure that the tests "
                "named here fail. More tests of a rule are found by its name: they all begin with "
                "`test_s1_`, `test_q1_` and so on."
            ),
            "",
            "| rule | what it says |",
            "|---|---|",
            *(f"| {rule} | {says} |" for rule, says in RULES.items()),
            "",
            "## How each rule was broken",
            "",
            "| rule | how it was broken | in | tests that failed |",
            "|---|---|---|---|",
            *(
                f"| {mutation.rule} | {mutation.how} | `{_short(mutation.file)}` "
                f"| {_names(mutation.tests)} |"
                for mutation in MUTATIONS
            ),
            "",
            "## What broke in other systems that meter",
            "",
            "| what went wrong there | tests that keep it out of here |",
            "|---|---|",
            *(f"| {trap.bug} | {_names(trap.tests)} |" for trap in TRAPS),
            "",
        ]
    )


def _short(file: str) -> str:
    return file.removeprefix(f"{_CORE}/")


def _names(tests: Iterable[str]) -> str:
    return "<br>".join(f"`{_name(test)}`" for test in tests)


def _name(test: str) -> str:
    file, *path = test.split("::")
    return f"{Path(file).stem}: {path[0]}"


def _copy(folder: Path) -> None:
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    emulator = Path(".local/emulator-venv")
    (folder / emulator.parent).mkdir()
    (folder / emulator).symlink_to(ROOT / emulator)


def _run(folder: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    options = ["-q", "-rf", "--tb=no", "-p", "no:cacheprovider", "-p", "tests.support.unshrunk"]
    command = [sys.executable, "-B", "-m", "pytest", *options]
    return subprocess.run(
        [*command, *tests], cwd=folder, capture_output=True, text=True, check=False
    )


def _survivors(folder: Path, mutation: Mutation) -> list[str]:
    """Return those of a mutation's tests that did not fail."""
    file = folder / mutation.file
    original = file.read_text(encoding="utf-8")
    file.write_text(original.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        finished = _run(folder, mutation.tests)
    finally:
        file.write_text(original, encoding="utf-8")
    if finished.returncode not in {0, _FAILED_TESTS}:
        raise SystemExit(f"{mutation.rule}, {mutation.how}:\n{finished.stdout}{finished.stderr}")
    failed = re.findall(r"^FAILED ([^\s\[]+)", finished.stdout, re.MULTILINE)
    return [test for test in mutation.tests if test not in failed]


def main(arguments: Sequence[str]) -> int:
    """Try the mutations; return 1 if a test did not notice one."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/rules.md and stop")
    parser.add_argument("--only", help="try the mutations of this rule")
    options = parser.parse_args(arguments)
    if options.write:
        DOCUMENT.write_text(document(), encoding="utf-8")
        return 0
    chosen = [m for m in MUTATIONS if options.only in {None, m.rule}]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder)
        unbroken = _run(folder, sorted({test for m in chosen for test in m.tests}))
        if unbroken.returncode != 0:
            raise SystemExit(f"The tests fail before anything is broken:\n{unbroken.stdout}")
        for mutation in chosen:
            survivors = _survivors(folder, mutation)
            unnoticed += bool(survivors)
            print(f"{'MISSED' if survivors else 'noticed':8} {mutation.rule}: {mutation.how}")
            for test in survivors:
                print(f"         passes all the same: {test}")
    print(f"{len(chosen) - unnoticed} of {len(chosen)} mutations were noticed by all their tests.")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
