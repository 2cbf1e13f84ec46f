"""What is in the pages of the documentation: fenced blocks, spans of code, and commands.

A block that cannot run says why, in a comment on the line before it:
``<!-- not run: needs an AWS account -->``. What it holds is checked all the same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowstack_docs.pages import ROOT, documented_pages

PAGES = [*documented_pages(), ROOT / "layers/client/README.md"]

_FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<why>[^\n]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMENT = re.compile(r"(^|\s)# .*$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Z_]+=.*", re.DOTALL)
_BETWEEN = "();<>|&\n"


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    words: tuple[str, ...]
    """What stands behind the backticks: the language, and what else is said of the block."""

    code: str
    not_run: str | None
    """Why the block cannot run, if it cannot."""

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""

    def __str__(self) -> str:
        return f"{named(self.page)}:{self.line}"


def named(page: Path) -> str:
    """Return a page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page, of one language or of all, in their order."""
    text = page.read_text(encoding="utf-8")
    found = (
        Block(
            page,
            text.count("\n", 0, fence.start("info")) + 1,
            tuple(fence["info"].split()),
            re.sub(rf"^{fence['indent']}", "", fence["code"], flags=re.MULTILINE),
            fence["why"],
        )
        for fence in _FENCE.finditer(text)
    )
    return [block for block in found if language is None or block.language == language]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """Return what the prose of a page has between backticks."""
    return _SPAN.findall(prose(page))


def commands(code: str) -> Iterator[list[str]]:
    """Yield the words of each command of a piece of shell, without assignments and redirections."""
    lexer = shlex.shlex(
        _COMMENT.sub("", code.replace("\\\n", " ")), posix=True, punctuation_chars=_BETWEEN
    )
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    into_a_file = False
    for word in lexer:
        if word.strip(_BETWEEN):
            if not into_a_file and (words or not _ASSIGNMENT.fullmatch(word)):
                words.append(word)
            into_a_file = False
            continue
        into_a_file = word in {">", "<"}
        if words and not into_a_file:
            yield words
            words = []
    if words:
        yield words


def commands_of(page: Path) -> Iterator[list[str]]:
    """Yield every command of a page: of its shell blocks, and of spans of two words or more."""
    for block in blocks(page, "bash"):
        yield from commands(block.code)
    for span in spans(page):
        if re.match(r"[a-z.][\w./-]* \S", span):
            yield from commands(span)
