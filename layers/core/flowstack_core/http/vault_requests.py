"""The bodies of the vault's routes.

``operation`` is what the published `flowstack` package sends along with each request.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.vault import MAX_PAGE, MAX_TTL, Expected
from flowstack_core.domain.vault_cursors import MAX_CURSOR_LENGTH
from flowstack_core.http.json_body import parse_json
from flowstack_core.services.vault import DeleteCommand, StoreCommand, UpdateCommand
from flowstack_core.services.vault_queries import Query

_MAX_VERSION_LENGTH = 64

CollectionName = Annotated[str, Field(min_length=1, max_length=512)]
DocumentKey = Annotated[str, Field(min_length=1, max_length=1024)]
Version = Annotated[str, Field(min_length=1, max_length=_MAX_VERSION_LENGTH)]
Lifetime = Annotated[int, Field(ge=1, le=int(MAX_TTL.total_seconds()))]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str, Field(min_length=1, max_length=MAX_CURSOR_LENGTH)]
# Values stay as they were sent: a model of JSON would turn some of them into others.
Fields = dict[str, Any]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StoreBody(_Body):
    """``POST /datavault``."""

    operation: Literal["store"] = "store"
    collection: CollectionName
    key: DocumentKey | None = None
    data: Fields
    ttl_seconds: Lifetime | None = None
    if_match: Version | None = None
    if_absent: bool = False

    @model_validator(mode="after")
    def _not_both(self) -> StoreBody:
        if self.if_absent and self.if_match is not None:
            raise ValueError("if_match and if_absent contradict each other")
        return self

    def command(self, idempotency_key: str | None) -> StoreCommand:
        """Return what is asked for, in the domain's terms."""
        return StoreCommand(
            collection=self.collection,
            key=self.key,
            data=self.data,
            lifetime=_lifetime(self.ttl_seconds),
            expected=Expected(self.if_match, self.if_absent),
            idempotency_key=idempotency_key,
        )


class UpdateBody(_Body):
    """``PUT /datavault``."""

    operation: Literal["update"] = "update"
    collection: CollectionName
    key: DocumentKey
    updates: Fields
    mode: Literal["merge", "replace"] = "merge"
    ttl_seconds: Lifetime | None = None
    if_match: Version | None = None

    def command(self, idempotency_key: str | None) -> UpdateCommand:
        """Return what is asked for, in the domain's terms."""
        return UpdateCommand(
            collection=self.collection,
            key=self.key,
            updates=self.updates,
            replaces=self.mode == "replace",
            lifetime=_lifetime(self.ttl_seconds),
            keeps_lifetime="ttl_seconds" not in self.model_fields_set,
            expected=Expected(self.if_match),
            idempotency_key=idempotency_key,
        )


class RemoveBody(_Body):
    """``DELETE /datavault``: a document, or with ``clear`` all of them."""

    operation: Literal["delete", "clear"] = "delete"
    collection: CollectionName
    key: DocumentKey | None = None
    if_match: Version | None = None
    cursor: Cursor | None = None

    @model_validator(mode="after")
    def _one_or_all(self) -> RemoveBody:
        if self.operation == "delete" and (self.key is None or self.cursor is not None):
            raise ValueError("to delete takes a key and no cursor; to clear takes its operation")
        if self.operation == "clear" and (self.key is not None or self.if_match is not None):
            raise ValueError("to clear takes neither key nor if_match")
        return self

    def command(self, idempotency_key: str | None) -> DeleteCommand:
        """Return which document to delete, in the domain's terms."""
        return DeleteCommand(
            collection=self.collection,
            key=self.key or "",
            expected=Expected(self.if_match),
            idempotency_key=idempotency_key,
        )


class QueryBody(_Body):
    """``POST /datavault/query``. ``sort`` is pairs, or an object, of path and direction."""

    collection: CollectionName
    filter: Fields = Field(default_factory=dict)
    sort: list[Any] | dict[str, Any] | None = None
    limit: Limit | None = None
    cursor: Cursor | None = None

    def query(self) -> Query:
        """Return what is asked for, in the domain's terms."""
        return Query(self.collection, self.filter, self.sort, self.limit, self.cursor)


class CountBody(_Body):
    """``POST /datavault/count``."""

    collection: CollectionName
    filter: Fields = Field(default_factory=dict)
    partial: bool = False
    cursor: Cursor | None = None

    def query(self) -> Query:
        """Return what is asked for, in the domain's terms."""
        return Query(self.collection, self.filter, cursor=self.cursor)


def filter_in_address(text: str | None) -> dict[str, Any]:
    """Read a filter as it stands in an address.

    Raises
    ------
    InvalidRequestError
        If it is no JSON object.
    """
    found = {} if text is None else parse_json(text, "filter")
    if not isinstance(found, dict):
        raise InvalidRequestError("filter: must be an object.", details={"field": "filter"})
    return found


def sort_in_address(text: str | None) -> Any:
    """Read a sort as it stands in an address.

    Raises
    ------
    InvalidRequestError
        If it is no JSON.
    """
    return None if text is None else parse_json(text, "sort")


def _lifetime(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
