"""Archives of exports, read as anybody's tar would."""

from __future__ import annotations

import io
import tarfile


def files_of(content: bytes) -> dict[str, bytes]:
    """Return the files of an archive; there is nothing else in it."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        members = tar.getmembers()
        found = {member.name: file.read() for member in members if (file := tar.extractfile(member))}
    assert len(found) == len(members), "not only files, or one twice"
    return found
