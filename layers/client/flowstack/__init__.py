"""Agents that are billed by the session: the Python client of FlowStack."""

from __future__ import annotations

from flowstack.agent import Agent, create_agent
from flowstack.agent_state import AgentSettings
from flowstack.async_agent import AsyncAgent
from flowstack.billing import AsyncBillingManager, BillingManager
from flowstack.documents import (
    Alert,
    Alerts,
    Answer,
    Document,
    Plan,
    Session,
    Statement,
    StoredCredential,
    Subscription,
    TierInfo,
    TokenCount,
    ToolCall,
    UsageStats,
)
from flowstack.exceptions import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BillingError,
    ConfigurationError,
    ConflictError,
    CredentialsRejectedError,
    CredentialsRequiredError,
    FlowStackError,
    InvalidProviderError,
    InvalidRequestError,
    ModelError,
    ModelNotAvailableError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    TierLimitationError,
    ToolDefinitionError,
    ToolRoundsExceededError,
)
from flowstack.exchange import MessageOptions
from flowstack.models import Models
from flowstack.money import Money
from flowstack.providers import Providers
from flowstack.runtime import Runtime
from flowstack.vault import AsyncVault, Vault
from flowstack.version import __version__

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "Agent",
    "AgentSettings",
    "Alert",
    "Alerts",
    "Answer",
    "AsyncAgent",
    "AsyncBillingManager",
    "AsyncVault",
    "AuthenticationError",
    "BillingError",
    "BillingManager",
    "ConfigurationError",
    "ConflictError",
    "CredentialsRejectedError",
    "CredentialsRequiredError",
    "Document",
    "FlowStackError",
    "InvalidProviderError",
    "InvalidRequestError",
    "MessageOptions",
    "ModelError",
    "ModelNotAvailableError",
    "Models",
    "Money",
    "NotFoundError",
    "Plan",
    "Providers",
    "QuotaExceededError",
    "RateLimitError",
    "Runtime",
    "ServerError",
    "Session",
    "Statement",
    "StoredCredential",
    "Subscription",
    "TierInfo",
    "TierLimitationError",
    "TokenCount",
    "ToolCall",
    "ToolDefinitionError",
    "ToolRoundsExceededError",
    "UsageStats",
    "Vault",
    "__version__",
    "create_agent",
]
