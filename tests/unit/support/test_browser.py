"""Without a browser nothing passes: it is said which one is missing, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browser import VARIABLE, NoBrowserError, chromium


def test_a_browser_that_is_not_there_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "chromium"))
    with pytest.raises(NoBrowserError, match="is not there: run `make setup`"), chromium():
        pass


def test_a_browser_that_does_not_start_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(broken))
    with pytest.raises(NoBrowserError, match="does not start"), chromium():
        pass
