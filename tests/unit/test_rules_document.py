"""``docs/rules.md`` says what is true of the code and the tests."""

from __future__ import annotations

import ast

import pytest

from tests.mutations import DOCUMENT, MUTATIONS, ROOT, RULES, TRAPS, Mutation, document


def test_the_document_is_the_generated_one() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), (
        "run: python -m tests.mutations --write"
    )


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.rule}: {m.how}")
def test_what_a_mutation_changes_is_there_once(mutation: Mutation) -> None:
    source = (ROOT / mutation.file).read_text(encoding="utf-8")
    assert source.count(mutation.old) == 1
    ast.parse(source.replace(mutation.old, mutation.new))


def test_every_rule_was_broken() -> None:
    assert {mutation.rule for mutation in MUTATIONS} == set(RULES)


def test_every_test_that_is_named_exists() -> None:
    named = {test for entry in (*MUTATIONS, *TRAPS) for test in entry.tests}
    sources = {
        file: (ROOT / file).read_text(encoding="utf-8")
        for file in {test.split("::")[0] for test in named}
    }
    for test in named:
        file, name, *_ = test.split("::")
        assert f"def {name}(" in sources[file] or f"{name} = " in sources[file], test
