"""List prices of AWS in us-east-1, in US dollars, as looked up on 24 November 2026.

Sources: API Gateway and Lambda requests as AWS's pages quoted them on 20 September 2026; DynamoDB,
Lambda's GB-seconds and SnapStart from secondary sources of 2025 and 2026; the others are list
prices to be checked. Free tiers and discounts are left out.
"""

from __future__ import annotations

from decimal import Decimal

_MILLION = Decimal(1_000_000)

GATEWAY_REQUEST = Decimal("3.50") / _MILLION
LAMBDA_REQUEST = Decimal("0.20") / _MILLION
LAMBDA_GB_SECOND = Decimal("0.0000133334")
"""On arm64."""

WRITE_UNIT = Decimal("0.625") / _MILLION
READ_UNIT = Decimal("0.125") / _MILLION
QUEUE_REQUEST = Decimal("0.40") / _MILLION
LOG_GB = Decimal("0.50")
TRACE = Decimal("5.00") / _MILLION
