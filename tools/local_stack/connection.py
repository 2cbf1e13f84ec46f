"""`stack.json`: everything a program needs to talk to a running local stack."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from local_stack.files import write_whole


class Connection(BaseModel):
    """How to reach a deployed local stack.

    Attributes
    ----------
    api_url
        Base of every path of the API, stage included, without a slash at the end. Plain HTTP on
        the loopback's address, because every client can use it: `*.localhost` names do not
        resolve everywhere, and no client trusts the stack's certificate by itself.
    https_api_url, ca_file
        The same API over TLS, and the certificate to trust for it. Both absent where the machine
        has no `openssl` to make the certificate.
    api_key, customer_id
        The demo customer; absent until it was created.
    endpoint_url
        Where the AWS SDKs and command line find the emulator.
    tables, functions
        Physical names by role, such as `sessions` and `conversation`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_url: str
    https_api_url: str | None = None
    ca_file: str | None = None
    api_key: str | None = None
    customer_id: str | None = None
    region: str
    endpoint_url: str
    stage: str
    tables: dict[str, str]
    functions: dict[str, str]

    @property
    def preferred_url(self) -> str:
        """HTTPS where there is a certificate, else HTTP."""
        return self.https_api_url or self.api_url

    def write(self, path: Path) -> None:
        """Replace the file in one step, readable by its owner only: it holds a key."""
        write_whole(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Connection | None:
        """Return what the file holds, or None when no stack wrote one.

        Raises
        ------
        pydantic.ValidationError
            When the file is not one of ours.
        """
        if not path.exists():
            return None
        return cls.model_validate_json(path.read_text(encoding="utf-8"))
