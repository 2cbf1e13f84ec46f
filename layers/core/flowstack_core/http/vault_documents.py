"""What the vault answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from flowstack_core.http.documents import Document


class DocumentFacts(Document):
    """What FlowStack knows about a document of the vault."""

    key: str
    version: str
    updated_at: datetime
    expires_at: datetime | None


class StoredDocument(DocumentFacts):
    """``POST /datavault``: the document was stored."""

    success: Literal[True]


class UpdatedDocument(Document):
    """``PUT /datavault``. Without ``success`` there is no such document."""

    success: bool
    key: str
    version: str | None
    updated_at: datetime | None
    expires_at: datetime | None


class RemovedDocument(Document):
    """``DELETE /datavault``. A collection that is not clear yet has a ``next_cursor``."""

    success: bool
    deleted: int
    remaining: bool
    next_cursor: str | None


class FoundDocument(Document):
    """Documents as they were stored, with what is known about each, in the same order."""

    data: list[dict[str, JsonValue]]
    meta: list[DocumentFacts]
    next_cursor: str | None


class CountDocument(Document):
    """How many documents there are, or how many so far where there is a ``next_cursor``."""

    count: int
    next_cursor: str | None


class CollectionsDocument(Document):
    """The collections that hold a document; ``collections`` has a prefix before each name."""

    names: list[str]
    collections: list[str]
    next_cursor: str | None


class VaultHealthDocument(Document):
    """``GET /datavault/health``."""

    status: Literal["ok"]
