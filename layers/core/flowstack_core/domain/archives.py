"""The form of an archive: a ``tar.gz`` that can be written piece by piece.

A gzip file may be many gzip files one after the other, and a tar file is its files one after the
other. So every piece is some whole files of the tar, compressed by themselves, and the pieces in
their order are the archive: nothing that was written is ever needed again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flowstack_core.domain.data_rights import ArchiveFile, Export
from flowstack_core.domain.periods import instant

MEDIA_TYPE = "application/gzip"
MANIFEST = "manifest.json"
_END = bytes(2 * tarfile.BLOCKSIZE)


def json_line(row: Mapping[str, Any]) -> bytes:
    """Write a row as a line of JSON."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def described(name: str, content: bytes, records: int) -> ArchiveFile:
    """Return what the manifest says of a file."""
    return ArchiveFile(name, records, len(content), hashlib.sha256(content).hexdigest())


def piece(name: str, content: bytes, at: datetime) -> bytes:
    """Return one file as a piece of the archive."""
    return gzip.compress(_entry(name, content, at), mtime=int(at.timestamp()))


def last_piece(export: Export, files: Sequence[ArchiveFile], at: datetime) -> bytes:
    """Return the last piece: the manifest, and the end of the tar."""
    manifest = {
        "customer_id": export.scope.customer_id,
        "export_id": export.export_id,
        "asked_at": instant(export.asked_at),
        "finished_at": instant(at),
        "counts": dict(sorted(export.counts.items())),
        "files": [
            {
                "name": file.name,
                "records": file.records,
                "bytes": file.size,
                "sha256": file.sha256,
            }
            for file in files
        ],
    }
    content = json.dumps(manifest, indent=2).encode() + b"\n"
    return gzip.compress(_entry(MANIFEST, content, at) + _END, mtime=int(at.timestamp()))


def _entry(name: str, content: bytes, at: datetime) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    header.mtime = int(at.timestamp())
    header.mode = 0o600
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return header.tobuf(tarfile.USTAR_FORMAT) + content + padding
