"""The environments that child processes get: nothing of the caller's AWS configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from local_stack.layout import Layout
from local_stack.ports import LOOPBACK

REGION = "us-east-1"
ACCOUNT = "000000000000"  # the emulator's account for access keys that are not account numbers
CREDENTIAL = "test"

INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ")
# The app's bundling fetches packages, so it needs to know how this machine reaches the world.
KEPT_FROM_CDK = ("AWS_", "CDK_", "PYTHON", "VIRTUAL_ENV")
# Answers of a real model, from any server that speaks OpenAI's protocol (Ollama, vLLM).
PASSED_TO_EMULATOR = ("MINISTACK_BEDROCK_PROXY_URL", "MINISTACK_BEDROCK_PROXY_TIMEOUT_SECONDS")


def base(caller: Mapping[str, str]) -> dict[str, str]:
    """Return what any program needs of the caller's environment, and no more."""
    return {name: caller[name] for name in INHERITED if name in caller}


def emulator_settings(caller: Mapping[str, str]) -> dict[str, str]:
    """Return the settings by which a running emulator is told apart from the one wanted."""
    settings = {
        "BIND_HOST": LOOPBACK,
        # Servers of other AWS services, on ports of their own.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "MINISTACK_REGION": REGION,
        "LAMBDA_EXECUTOR": "local",
        "LAMBDA_STRICT": "0",
        # Functions stay warm for as long as a person may look at an answer.
        "LAMBDA_WARM_TTL_SECONDS": "3600",
        "PERSIST_STATE": "0",
    }
    settings.update({name: caller[name] for name in PASSED_TO_EMULATOR if name in caller})
    return settings


def for_emulator(
    caller: Mapping[str, str], layout: Layout, *, port: int, settings: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of the emulator, which its functions inherit."""
    return {
        **base(caller),
        **settings,
        "GATEWAY_PORT": str(port),
        "TMPDIR": str(layout.scratch),
        "STATE_DIR": str(layout.scratch / "state"),
        "S3_DATA_DIR": str(layout.scratch / "s3"),
        "PYTHONUNBUFFERED": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def for_cdk(caller: Mapping[str, str], layout: Layout, *, endpoint_url: str) -> dict[str, str]:
    """Return the environment in which the CDK command line sees the emulator and no other AWS.

    No profile, credential or endpoint of the caller gets through: a deployment to the emulator
    may never become one to an account of AWS.
    """
    return {
        **{name: caller[name] for name in caller if not name.startswith(KEPT_FROM_CDK)},
        **offline_cdk(layout.cdk_home),
        "NO_PROXY": LOOPBACK,
        "no_proxy": LOOPBACK,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": CREDENTIAL,
        "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED": "true",
    }


def offline_cdk(home: Path) -> dict[str, str]:
    """Return what keeps the CDK from calling home, and from lecturing about the version of Node."""
    return {
        "CDK_HOME": str(home),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_DISABLE_VERSION_CHECK": "1",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
        "JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION": "1",
        "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
    }
