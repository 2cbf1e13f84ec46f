"""Requests to the admin API, signed with AWS credentials (Signature Version 4)."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from flowstack_admin.failures import CannotConnectError, RefusedError, UsageError

CONNECTION_FILE = Path(".local") / "stack.json"
ANSWER_SECONDS = 30.0

_NOTHING_KEPT = httpx.Limits(max_keepalive_connections=0)
"""A command asks once or twice: no connection is kept, so none has to be closed."""

_LOOPBACK = re.compile(r"127(\.\d+){3}|localhost|.*\.localhost|::1")
_AWS_HOST = re.compile(r"[^.]+\.execute-api\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")


class SigningCredentials(Protocol):
    """Credentials that may be refreshed between requests."""

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return the credentials to sign one request with."""
        ...


class AdminClient:
    """Asks the admin API. Safe to share between threads.

    Parameters
    ----------
    api_url
        Base of every path, stage included, without a slash at the end.
    region
        The region that signatures are made for.
    http
        The client that sends; it decides whom to trust and how long to wait.
    """

    def __init__(
        self, api_url: str, region: str, credentials: SigningCredentials, http: httpx.Client
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self._region = region
        self._credentials = credentials
        self._http = http

    @classmethod
    def of_local_stack(cls, path: Path) -> AdminClient:
        """Return a client for the local stack that ``path`` describes.

        Raises
        ------
        CannotConnectError
            If the file cannot be read as a description of a local stack.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            api_url, region = facts.get("https_api_url") or facts["api_url"], facts["region"]
            authority = facts.get("ca_file")
            trusted = ssl.create_default_context(cafile=authority) if authority else True
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CannotConnectError(
                f"{path} does not describe a local stack.",
                {"hint": "Start one with `make run`, or give --api-url."},
            ) from error
        http = httpx.Client(
            timeout=ANSWER_SECONDS, verify=trusted, trust_env=False, limits=_NOTHING_KEPT
        )
        # The emulator takes any credentials; these are the ones that its documentation uses.
        return cls(api_url, region, Credentials("test", "test"), http)

    @classmethod
    def of_aws(cls, api_url: str, region: str | None, profile: str | None) -> AdminClient:
        """Return a client that signs with the caller's own AWS credentials.

        Raises
        ------
        UsageError
            If the address is no URL, would send keys in the clear, or tells no region.
        CannotConnectError
            If there are no credentials.
        """
        parts = urlsplit(api_url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host:
            raise UsageError(f"{api_url} is not the URL of an API.")
        if parts.scheme == "http" and _LOOPBACK.fullmatch(host) is None:
            raise UsageError(
                "Keys are not sent without TLS.", {"hint": "Begin the URL with https://."}
            )
        try:
            session = Session(profile=profile)
            credentials = session.get_credentials()
            region = region or _region_of(host) or session.get_config_variable("region")
        except BotoCoreError as error:
            raise CannotConnectError(str(error)) from error
        if credentials is None:
            raise CannotConnectError(
                "There are no AWS credentials.", {"hint": "Sign in, or give --profile."}
            )
        if not region:
            raise UsageError("The URL tells no region.", {"hint": "Give --region."})
        http = httpx.Client(timeout=ANSWER_SECONDS, limits=_NOTHING_KEPT)
        return cls(api_url, region, credentials, http)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """GET a document; parts of ``query`` that are ``None`` are left out."""
        return self._ask("GET", path, query=query)

    def post(
        self, path: str, body: Mapping[str, Any], query: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """POST a document; return the answer."""
        return self._ask("POST", path, body, query)

    def put(
        self, path: str, body: Mapping[str, Any], query: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """PUT a document; return the answer."""
        return self._ask("PUT", path, body, query)

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE something; return the answer."""
        return self._ask("DELETE", path)

    def read(self, target: str, accept: str) -> httpx.Response:
        """GET a path with its query, in the form that ``accept`` asks for; return what comes.

        Raises
        ------
        CannotConnectError
            If there is no answer.
        """
        return self._send("GET", f"{self.api_url}{target}", None, accept)

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Send one request.

        Raises
        ------
        RefusedError
            If the API says no.
        CannotConnectError
            If there is no answer, or it is not the API's.
        """
        url = f"{self.api_url}{path}"
        given = {name: value for name, value in (query or {}).items() if value is not None}
        if given:
            url += f"?{urlencode(given, quote_via=quote)}"
        content = None if body is None else json.dumps(body).encode()
        return _document(self._send(method, url, content, "application/json"), self.api_url)

    def _send(self, method: str, url: str, content: bytes | None, accept: str) -> httpx.Response:
        headers = self._signed_headers(method, url, content, accept)
        try:
            return self._http.request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise CannotConnectError(
                f"There is no answer from {self.api_url}: {str(error) or type(error).__name__}.",
                {"hint": "Is the stack running? `make status` tells for the local one."},
            ) from error

    def _signed_headers(
        self, method: str, url: str, content: bytes | None, accept: str
    ) -> dict[str, str]:
        headers = {"Accept": accept}
        if content is not None:
            headers["Content-Type"] = "application/json"
        request = AWSRequest(method=method, url=url, data=content, headers=headers)
        try:
            credentials = self._credentials.get_frozen_credentials()
        except BotoCoreError as error:  # they had to be refreshed, and could not be
            raise CannotConnectError(str(error)) from error
        SigV4Auth(credentials, "execute-api", self._region).add_auth(request)
        return dict(request.headers.items())


def segment(text: str) -> str:
    """Return ``text`` fit to be one segment of a path.

    Raises
    ------
    UsageError
        If it is empty, or would lead elsewhere.
    """
    if text in {"", ".", ".."}:
        raise UsageError("An id must not be empty.")
    return quote(text, safe="")


def find_connection_file(start: Path) -> Path | None:
    """Return the connection file of the local stack in ``start`` or the nearest folder above."""
    for folder in (start, *start.parents):
        if (folder / CONNECTION_FILE).is_file():
            return folder / CONNECTION_FILE
    return None


def _region_of(host: str) -> str | None:
    match = _AWS_HOST.fullmatch(host)
    return None if match is None else match["region"]


def _document(response: httpx.Response, api_url: str) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CannotConnectError(
            f"What answers at {api_url} is not FlowStack (HTTP {response.status_code}).",
            {"hint": "The URL ends with the stage, such as /prod."},
        )
    if response.is_success:
        return document
    raise RefusedError(response.status_code, document)
