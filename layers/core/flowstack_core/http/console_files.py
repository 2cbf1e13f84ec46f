"""The console's files and the headers they are sent with, whoever serves them.

The files lie below a name made of a hash of them all, so that a browser may keep them for ever and
no page ever mixes files of two deployments. The page itself is asked for anew each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

PAGE = "index.html"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Only what this address serves is loaded, and only this address is spoken to."""

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
    }
)

_VERSION = "%version%"
_VERSION_LENGTH = 16
_YEAR = 365 * 24 * 60 * 60

_EVERY_FILE: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)


@dataclass(frozen=True, slots=True)
class ConsoleFile:
    """A file as it is sent."""

    media_type: str
    text: str
    headers: Mapping[str, str]

    def unchanged_since(self, if_none_match: str | None) -> bool:
        """Whether who asks has it already, by the header ``If-None-Match`` (RFC 9110, 13.1.2).

        API Gateway may have compressed what it sent then, so the comparison is the weak one.
        """
        tag = self.headers.get("ETag")
        known = (one.strip() for one in (if_none_match or "").split(","))
        return tag is not None and tag in known


@dataclass(frozen=True, slots=True)
class ConsoleFiles:
    """The page, and what it loads by name."""

    version: str
    page: ConsoleFile
    files: Mapping[str, ConsoleFile]

    @classmethod
    def of(cls, folder: Path) -> ConsoleFiles:
        """Read a folder."""
        texts = {
            path.name: path.read_text(encoding="utf-8")
            for path in sorted(folder.iterdir())
            if path.suffix in MEDIA_TYPES
        }
        version = _digest("".join(f"{name}\0{text}\0" for name, text in texts.items()))
        page = texts.pop(PAGE).replace(_VERSION, version)
        return cls(
            version,
            _file(PAGE, page, {"Cache-Control": "no-cache", "ETag": f'W/"{_digest(page)}"'}),
            {name: _file(name, text, _kept()) for name, text in texts.items()},
        )

    def find(self, version: str, name: str) -> ConsoleFile | None:
        """Return a file of this version."""
        return self.files.get(name) if version == self.version else None


def _file(name: str, text: str, caching: Mapping[str, str]) -> ConsoleFile:
    return ConsoleFile(MEDIA_TYPES[Path(name).suffix], text, {**_EVERY_FILE, **caching})


def _kept() -> dict[str, str]:
    return {"Cache-Control": f"public, max-age={_YEAR}, immutable"}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]
