"""What repeating may mend of what AWS's stores and queues answer."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from flowstack_core.services.ports.failures import StoreContentionError

_SERVER_ERROR = 500


@contextmanager
def contention_by(codes: Container[str]) -> Iterator[None]:
    """Turn errors with one of the codes, servers' own and lost connections into contention.

    Raises
    ------
    StoreContentionError
        Whether it was done is not known; doing it again is safe.
    """
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in codes or status >= _SERVER_ERROR:
            raise StoreContentionError(code) from error
        raise
    except (BotoConnectionError, HTTPClientError) as error:
        raise StoreContentionError(type(error).__name__) from error
