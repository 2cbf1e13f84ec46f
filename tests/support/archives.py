"""Archives of exports, read as anybody's tar would."""

from __future__ import annotations

import io
import tarfile


def files_of(content: bytes) -> dict[str, bytes]:
    """Return the files of an archive; there is nothing else in it."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        all_of_it = tar.getmembers()
        found = {one.name: file.read() for one in all_of_it if (file := tar.extractfile(one))}
    assert len(found) == len(all_of_it), "not only files, or one twice"
    return found
