"""``python -m tests.bench`` measures everything and writes ``docs/benchmarks.md``."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from stacks.constructs.layer import core_contents, providers_contents
from stacks.python_target import AWS_LAMBDA
from stacks.sources import Sources
from tests.bench import forecasts, growth, import_time, overhead, quota, sdk
from tests.bench.bundles import built_layer, weigh_functions, weigh_layer
from tests.bench.hot_path import measure_hot_path
from tests.bench.month_end import measure_month_end
from tests.bench.report import Conditions, render_page
from tests.bench.rollups import measure_rollups
from tests.support.emulator import ROOT, emulator_program

_PAGE = ROOT / "docs/benchmarks.md"
_PACKAGES = ("boto3", "botocore", "aws-lambda-powertools", "pydantic", "pydantic-core")


def main() -> None:
    """Measure, and write the page."""
    conditions = _conditions()
    _say("import times")
    import_time.main()
    _say("bundles")
    sources = Sources(ROOT)
    core, providers = core_contents(sources), providers_contents(sources)
    with built_layer(core, AWS_LAMBDA) as layer, built_layer(providers, AWS_LAMBDA) as more:
        bundles = (
            *weigh_layer("core layer", layer),
            *weigh_layer("providers layer", more),
            *weigh_functions(),
        )
    hot_path = measure_hot_path(_say)
    page = render_page(
        conditions,
        hot_path,
        measure_month_end(_say),
        measure_rollups(_say),
        bundles,
        (f"Python {AWS_LAMBDA.version}", AWS_LAMBDA.machine),
    )
    _PAGE.write_text(page, encoding="utf-8")
    _say(f"wrote {_PAGE.relative_to(ROOT)}")
    _say("growth")
    growth.main()
    _say("the quota, beside zae-limiter")
    quota.main()
    _say("a message beside its model, and LiteLLM's proxy")
    overhead.main()
    _say("the Python client")
    sdk.main()
    _say("forecasts")
    forecasts.main()


def _say(what: str) -> None:
    print(f"bench: {what}", flush=True)


def _conditions() -> Conditions:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return Conditions(
        (
            ("measured", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
            ("command", "`make bench` (`python -m tests.bench`)"),
            ("machine", f"{_processor()}, {os.cpu_count()} processors, {platform.machine()}"),
            ("load when it began", f"{load} (1, 5 and 15 minutes)"),
            ("system", platform.platform()),
            ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
            *((package, version(package)) for package in _PACKAGES),
            ("MiniStack", _emulator_version()),
        )
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _emulator_version() -> str:
    asked = "from importlib.metadata import version; print(version('ministack'))"
    python = emulator_program().with_name("python")
    finished = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True)
    return finished.stdout.strip()


if __name__ == "__main__":
    main()
