"""Names of models, to choose one without misspelling it.

FlowStack takes its own short names (``claude-haiku-4-5``), Bedrock's model ids, and whatever a
provider of your own calls its models. Where AWS has retired a Bedrock model, its successor answers
and ``answer.model_notice`` says so.
"""

from __future__ import annotations


class Models:
    """Constants for models."""

    # Managed, by FlowStack's short names
    CLAUDE_OPUS = "claude-opus-5-5"
    CLAUDE_SONNET = "claude-sonnet-5-5"
    CLAUDE_HAIKU = "claude-haiku-5-5"
    CLAUDE_SONNET_46 = "claude-sonnet-4-6"
    CLAUDE_HAIKU_45 = "claude-haiku-4-5"
    NOVA_2_LITE = "nova-2-lite"
    MISTRAL_LARGE_3 = "mistral-large-3"
    DEFAULT = CLAUDE_SONNET_46

    # Managed, by Bedrock's ids; some are retired
    CLAUDE_OPUS_4_1 = "anthropic.claude-opus-4-1-20250805-v1:0"
    CLAUDE_37_SONNET = "anthropic.claude-3-7-sonnet-20250219-v1:0"
    CLAUDE_SONNET_4 = "anthropic.claude-sonnet-4-20250514-v1:0"
    CLAUDE_35_SONNET_V2 = "anthropic.claude-3-5-sonnet-20241022-v2:0"
    CLAUDE_35_SONNET = "anthropic.claude-3-5-sonnet-20240620-v1:0"
    CLAUDE_35_HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
    CLAUDE_3_OPUS = "anthropic.claude-3-opus-20240229-v1:0"
    CLAUDE_3_SONNET = "anthropic.claude-3-sonnet-20240229-v1:0"
    CLAUDE_3_HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
    CLAUDE_V2_1 = "anthropic.claude-v2:1"
    CLAUDE_V2 = "anthropic.claude-v2"
    CLAUDE_INSTANT = "anthropic.claude-instant-v1"
    NOVA_PREMIER = "amazon.nova-premier-v1:0"
    NOVA_PRO = "amazon.nova-pro-v1:0"
    NOVA_LITE = "amazon.nova-lite-v1:0"
    NOVA_MICRO = "amazon.nova-micro-v1:0"
    LLAMA4_MAVERICK_17B = "meta.llama4-maverick-17b-instruct-v1:0"
    LLAMA4_SCOUT_17B = "meta.llama4-scout-17b-instruct-v1:0"
    LLAMA33_70B = "meta.llama3-3-70b-instruct-v1:0"
    LLAMA32_90B = "meta.llama3-2-90b-instruct-v1:0"
    LLAMA32_11B = "meta.llama3-2-11b-instruct-v1:0"
    LLAMA32_3B = "meta.llama3-2-3b-instruct-v1:0"
    LLAMA32_1B = "meta.llama3-2-1b-instruct-v1:0"
    LLAMA31_405B = "meta.llama3-1-405b-instruct-v1:0"
    LLAMA31_70B = "meta.llama3-1-70b-instruct-v1:0"
    LLAMA31_8B = "meta.llama3-1-8b-instruct-v1:0"
    LLAMA3_70B = "meta.llama3-70b-instruct-v1:0"
    LLAMA3_8B = "meta.llama3-8b-instruct-v1:0"
    PIXTRAL_LARGE = "mistral.pixtral-large-2502-v1:0"
    MISTRAL_LARGE_2407 = "mistral.mistral-large-2407-v1:0"
    MISTRAL_LARGE_2402 = "mistral.mistral-large-2402-v1:0"
    MISTRAL_7B = "mistral.mistral-7b-instruct-v0:2"
    MIXTRAL_8X7B = "mistral.mixtral-8x7b-instruct-v0:1"
    TITAN_PREMIER = "amazon.titan-text-premier-v1:0"
    TITAN_EXPRESS = "amazon.titan-text-express-v1"
    TITAN_LITE = "amazon.titan-text-lite-v1"
    COMMAND_R_PLUS = "cohere.command-r-plus-v1:0"
    COMMAND_R = "cohere.command-r-v1:0"
    JAMBA_15_LARGE = "ai21.jamba-1-5-large-v1:0"
    JAMBA_15_MINI = "ai21.jamba-1-5-mini-v1:0"

    # With your own key at OpenAI
    GPT_4O = "gpt-4o"
    GPT_4_TURBO = "gpt-4-turbo"
    GPT_35_TURBO = "gpt-3.5-turbo"

    # With your own key at Anthropic
    CLAUDE_DIRECT_OPUS = "claude-3-opus-20240229"
    CLAUDE_DIRECT_SONNET = "claude-3-sonnet-20240229"
    CLAUDE_DIRECT_HAIKU = "claude-3-haiku-20240307"

    @classmethod
    def get_bedrock_models(cls) -> list[str]:
        """Return the constants for models on Bedrock."""
        elsewhere = {*cls.get_openai_models(), *cls.get_anthropic_direct_models()}
        constants = {value for name, value in vars(cls).items() if name.isupper()}
        return sorted(constants - elsewhere)

    @classmethod
    def get_openai_models(cls) -> list[str]:
        """Return the constants for models at OpenAI."""
        return [cls.GPT_4O, cls.GPT_4_TURBO, cls.GPT_35_TURBO]

    @classmethod
    def get_anthropic_direct_models(cls) -> list[str]:
        """Return the constants for models at Anthropic."""
        return [cls.CLAUDE_DIRECT_OPUS, cls.CLAUDE_DIRECT_SONNET, cls.CLAUDE_DIRECT_HAIKU]
