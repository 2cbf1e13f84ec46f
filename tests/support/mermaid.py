"""Whether a Mermaid diagram is well formed, as far as our pages use the language.

Not Mermaid's own parser, which needs a browser. What it finds is what goes wrong in an edit: a
bracket or a quotation mark that is left open, a block without its end, an arrow to nowhere, a line
of no known form, an actor that was never introduced.
"""

from __future__ import annotations

import re

_TEXT = r'"[^"]*"|[^"\[\](){}|]+'
_SHAPE = "|".join(
    rf"{re.escape(left)}(?:{_TEXT}){re.escape(right)}"
    for left, right in (
        ("[[", "]]"),
        ("[(", ")]"),
        ("((", "))"),
        ("[", "]"),
        ("(", ")"),
        ("{", "}"),
    )
)
_NODE = rf"[A-Za-z]\w*(?:{_SHAPE})?"
_NODES = rf"{_NODE}(?: & {_NODE})*"
_ARROW = (
    r'(?:--+>|-\.->|--+|==>)(?:\|[^|]+\|)?|-- (?:"[^"]+"|[^"-]+) -->|-\. (?:"[^"]+"|[^".]+) \.->'
)
_FLOW_LINE = re.compile(rf"{_NODES}(?: (?:{_ARROW}) {_NODES})*")
_SUBGRAPH = re.compile(r'subgraph [A-Za-z]\w*(?:\["[^"]+"\])?')
_MESSAGE = re.compile(r"(\w+)(?:->>|-->>|-\)|--\))(\w+): \S.*")
_PARTICIPANT = re.compile(r"(?:participant|actor) (\w+)(?: as \S.*)?")
_OPENS = re.compile(r"(?:alt|opt|loop|par|critical) \S.*")
_GOES_ON = re.compile(r"(?:else|and|option)(?: \S.*)?")
_NOTE = re.compile(r"Note (?:over|left of|right of) (\w+(?:,\w+)*): \S.*")


def check_mermaid(code: str) -> None:
    """Check a diagram.

    Raises
    ------
    AssertionError
        It is not well formed; the line says where.
    """
    first, *lines = (line.strip() for line in code.splitlines() if line.strip())
    if re.fullmatch(r"flowchart (?:LR|RL|TD|TB|BT)", first):
        _check_flowchart(lines)
    else:
        assert first == "sequenceDiagram", first
        _check_sequence(lines)


def _check_flowchart(lines: list[str]) -> None:
    open_blocks = 0
    for line in lines:
        if _SUBGRAPH.fullmatch(line):
            open_blocks += 1
        elif line == "end":
            assert open_blocks, "an end without its beginning"
            open_blocks -= 1
        else:
            assert _FLOW_LINE.fullmatch(line), line
    assert not open_blocks, "a subgraph without its end"


def _check_sequence(lines: list[str]) -> None:
    actors: set[str] = set()
    open_blocks = 0
    for line in lines:
        if introduced := _PARTICIPANT.fullmatch(line):
            actors.add(introduced[1])
        elif message := _MESSAGE.fullmatch(line):
            assert actors >= set(message.groups()), line
        elif note := _NOTE.fullmatch(line):
            assert actors >= set(note[1].split(",")), line
        elif _OPENS.fullmatch(line):
            open_blocks += 1
        elif _GOES_ON.fullmatch(line):
            assert open_blocks, line
        else:
            assert line == "end", line
            assert open_blocks, "an end without its beginning"
            open_blocks -= 1
    assert not open_blocks, "a block without its end"
