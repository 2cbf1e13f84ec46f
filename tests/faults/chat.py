"""Messages: sent, sent again under their keys, answered by the operator's models or one's own."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore
from flowstack_core.adapters.dynamodb_codec import read_instant
from flowstack_core.adapters.dynamodb_credentials import DynamoDBCredentialStore
from flowstack_core.adapters.dynamodb_own_limits import DynamoDBOwnLimitsStore
from flowstack_core.adapters.dynamodb_sessions import (
    DynamoDBSessionStore,
    decode_session,
    head_key,
)
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore
from flowstack_core.adapters.kms import KmsCredentialCipher
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.domain.errors import (
    FlowStackError,
    ModelUnavailableError,
    RequestInProgressError,
)
from flowstack_core.domain.fair_use import FairUseMeter
from flowstack_core.domain.messages import ModelAnswer, ModelRequest, TextBlock
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider, ProviderCredentials
from flowstack_core.domain.sessions import INACTIVITY_LIMIT, Conversation
from flowstack_core.services.admission import Admission
from flowstack_core.services.byok import CredentialFinder
from flowstack_core.services.conversations import Caller, ConversationService, MessageCommand
from flowstack_core.services.expiry import ExpiryService
from tests.faults.credentials import KEY, Credentials
from tests.faults.stage import NO_ANSWER, Stage
from tests.support.fakes import REGION, SequentialIds, Watching, message, model_answer

WORKFLOW = "chat"
CONVERSATIONS = ("a", "b", "c", "d", "e")
REMEMBERED = timedelta(hours=24)
_PATIENCE = 4


class Models:
    """A model that answers, fails, dawdles, or has its caller killed; it knows whom it answered."""

    def __init__(self, stage: Stage, credentials: Credentials) -> None:
        self._stage, self._credentials = stage, credentials
        self._random = stage.chance("model")
        self.answered: list[str] = []

    def check(self, provider: Provider, credentials: ProviderCredentials | None) -> None:
        """Serve everybody."""

    def client(self, provider: Provider, credentials: ProviderCredentials | None) -> Models:
        """Return itself, once it is clear who pays."""
        if credentials is not None:
            self._credentials.used(credentials)
        return self

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """React to one request."""
        faults = self._stage.faults
        faults.let_others_in()
        if self._random.random() < faults.rate:
            match self._random.choice(["fails", "dawdles", "kills"]):
                case "fails":
                    raise ModelUnavailableError("The model is gone.")
                case "dawdles":
                    self._stage.wait(self._random.choice([5, 20]))
                case _:
                    raise faults.killed()
        faults.survive()
        block = request.messages[-1].content[0]
        assert isinstance(block, TextBlock)
        self.answered.append(block.text)
        return model_answer(f"re: {block.text}")


class Chat:
    """A customer that talks.

    Attributes
    ----------
    answers
        The document that each idempotency key was answered with.
    service, ids
        What answers, and names what there is: also what is answered later.
    """

    def __init__(self, stage: Stage, credentials: Credentials) -> None:
        self._stage, tables, client = stage, stage.tables, stage.dynamodb
        accounts = DynamoDBAccountStore(client, tables["accounts"], tables["usage"])
        sessions = DynamoDBSessionStore(client, tables["sessions"], tables["usage"])
        usage = DynamoDBUsageStore(client, tables["usage"], tables["accounts"])
        own_limits = DynamoDBOwnLimitsStore(client, tables["accounts"], tables["usage"])
        cipher = KmsCredentialCipher(lambda: credentials.kms, KEY)
        self.ids = ids = SequentialIds()
        observer = Watching()
        self.models = Models(stage, credentials)
        self.service = ConversationService(
            admission=Admission(
                sessions, usage, accounts, own_limits, ids, stage.retrier, observer
            ),
            sessions=sessions,
            subscriptions=accounts,
            clocks=stage.clock,
            ids=ids,
            retrier=stage.retrier,
            catalogue=default_catalogue(),
            region=REGION,
            model_clients=self.models,
            fair_use=FairUseMeter(),
            own_credentials=CredentialFinder(
                DynamoDBCredentialStore(client, tables["accounts"]), cipher, stage.clock
            ),
            observer=observer,
        )
        self._expiry = ExpiryService(sessions, stage.clock)
        self.answers: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, tuple[datetime, str, bool]] = {}

    def send(self) -> None:
        """Send a message, and again under its key while there is no answer."""
        random, key = self._stage.random, f"key-{self._stage.number()}"
        own = random.random() < 0.25
        self._asked[key] = (self._stage.clock.now(), random.choice(CONVERSATIONS), own)
        self._ask(key)

    def repeat(self) -> None:
        """Send an answered message once more, while its key is remembered."""
        since = self._stage.clock.now() - REMEMBERED
        remembered = [key for key in sorted(self.answers) if self._asked[key][0] > since]
        if remembered:
            self._ask(self._stage.random.choice(remembered))

    def _ask(self, key: str) -> None:
        stage, caller = self._stage, Caller(self._stage.customer_id, Tier.STARTER)
        command = self._command(key)
        known, asked_before = self.answers.get(key), self.models.answered.count(key)
        for _ in range(_PATIENCE):
            budget = stage.budget()
            try:
                with stage.repeatable(lambda: self._ask(key)):
                    answer = stage.request(
                        WORKFLOW,
                        lambda: self.service.answer(caller, command, budget),  # noqa: B023 - now
                    )
            except (*NO_ANSWER, RequestInProgressError):
                stage.wait(stage.random.choice([1, 40]))
            except FlowStackError:
                return
            else:
                first = self.answers.setdefault(key, answer.document)
                stage.insist(first == answer.document, "S3: another answer")
                break
        if known is not None:
            again = self.models.answered.count(key) > asked_before
            stage.insist(not again, "S3: asked the model again")

    def _command(self, key: str) -> MessageCommand:
        """Return the message of a key; the model is told the key, and says it again."""
        _, conversation_id, own = self._asked[key]
        return message(
            conversation_id=conversation_id,
            operation="chat" if conversation_id == CONVERSATIONS[0] else "invoke",
            text=key,
            idempotency_key=key,
            byok=own,
        )

    def tidy(self) -> None:
        """Delete live sessions that have expired, as DynamoDB does, and tell of it."""
        stage = self._stage
        for conversation_id in CONVERSATIONS:
            key = head_key(Conversation(stage.customer_id, "agent", conversation_id))
            table = stage.tables["sessions"]
            head = stage.plain.get_item(TableName=table, Key=key).get("Item")
            if not head or read_instant(head, "last_activity_at") + INACTIVITY_LIMIT > (
                stage.clock.now()
            ):
                continue
            stage.plain.delete_item(TableName=table, Key=key)
            stage.streams.look_at([("sessions", key["pk"]["S"], key["sk"]["S"])])
            session = decode_session(head)
            for _ in range(stage.random.choice([1, 2])):
                stage.deliver(WORKFLOW, partial(self._expiry.session_deleted, session))
