"""What is told of stored credentials: never the credentials."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flowstack_core.http.documents import Document


class StoredCredentialsDocument(Document):
    """Credentials stored at one provider; ``credentials`` holds their fields, masked."""

    provider: str
    credentials: dict[str, str]
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


class StoreCredentialsDocument(StoredCredentialsDocument):
    """``POST /api/byok-credentials``. ``replaced`` tells whether there were others before."""

    replaced: bool


class CredentialsListDocument(Document):
    """``GET /api/byok-credentials``."""

    credentials: list[StoredCredentialsDocument]


class DeletedCredentialsDocument(Document):
    """``DELETE /api/byok-credentials/{provider}``."""

    provider: str
    deleted: Literal[True]
