// @ts-check
/** The fields that each provider's credentials have. A test holds it to the server's table. */

/** @type {Readonly<Record<string, {required: string[], optional: string[]}[]>>} */
export const WAYS = {
  "bedrock": [
    {"required": ["aws_access_key", "aws_secret_key"], "optional": ["aws_session_token", "region"]},
    {"required": ["role_arn", "external_id"], "optional": ["region"]}
  ],
  "openai": [{"required": ["api_key"], "optional": []}],
  "anthropic": [{"required": ["api_key"], "optional": []}],
  "cohere": [{"required": ["api_key"], "optional": []}],
  "mistral": [{"required": ["api_key"], "optional": []}],
  "ollama": [{"required": ["host"], "optional": ["api_key"]}],
  "sagemaker": [
    {
      "required": ["endpoint_name", "region", "aws_access_key", "aws_secret_key"],
      "optional": ["aws_session_token"]
    },
    {"required": ["endpoint_name", "region", "role_arn", "external_id"], "optional": []}
  ],
  "writer": [{"required": ["api_key"], "optional": []}],
  "litellm": [{"required": ["api_key", "host"], "optional": []}]
};

/** Names and addresses; every other field is a secret. */
export const PUBLIC_FIELDS = ["region", "endpoint_name", "host", "role_arn", "external_id"];

/** @type {Readonly<Record<string, string>>} */
export const NAMES = {
  bedrock: "Amazon Bedrock",
  openai: "OpenAI",
  anthropic: "Anthropic",
  cohere: "Cohere",
  mistral: "Mistral",
  ollama: "Ollama",
  sagemaker: "Amazon SageMaker",
  writer: "Writer",
  litellm: "LiteLLM",
};
