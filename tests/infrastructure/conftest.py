"""Each stage synthesized once, without bundling, credentials or network."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from aws_cdk import App, Environment

from stacks.application import Application
from stacks.sources import Sources
from tests.infrastructure.synthesized import Synthesized

ROOT = Path(__file__).resolve().parents[2]


def new_app(outdir: Path, **context: object) -> App:
    """Return an app with the context of cdk.json and more, as the CDK command line gives it."""
    flags = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    return App(
        context={**flags, "aws:cdk:bundling-stacks": [], **context},
        analytics_reporting=False,
        outdir=str(outdir),
    )


@pytest.fixture(scope="session")
def synthesize(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Synthesized]:
    """Synthesize a stage; the same one only once a session."""

    @cache
    def stage(name: str) -> Synthesized:
        app = new_app(tmp_path_factory.mktemp(name), stage=name)
        application = Application(app, Sources(ROOT), Environment())
        return Synthesized(app, application)

    return stage


@pytest.fixture(scope="session")
def prod(synthesize: Callable[[str], Synthesized]) -> Synthesized:
    return synthesize("prod")


@pytest.fixture(scope="session")
def dev(synthesize: Callable[[str], Synthesized]) -> Synthesized:
    return synthesize("dev")


@pytest.fixture(scope="session")
def local(synthesize: Callable[[str], Synthesized]) -> Synthesized:
    return synthesize("local")
