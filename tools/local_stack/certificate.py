"""A certificate for the loopback, so that the local API can be spoken to over HTTPS."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VALID_DAYS = 397
FRESH_SECONDS = 24 * 3600  # one that ends within a day is replaced


@dataclass(frozen=True)
class Certificate:
    """Paths of a certificate, which clients trust as it is, and of its key."""

    certificate: Path
    key: Path


def ensure(folder: Path) -> Certificate | None:
    """Return the folder's certificate, made anew when missing or about to end.

    Returns
    -------
    Certificate or None
        None when the machine has no `openssl` command.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    found = Certificate(folder / "certificate.pem", folder / "key.pem")
    if not (found.key.exists() and _is_fresh(openssl, found.certificate)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(openssl, found)
    return found


def _is_fresh(openssl: str, certificate: Path) -> bool:
    if not certificate.exists():
        return False
    question = [openssl, "x509", "-checkend", str(FRESH_SECONDS), "-noout", "-in", str(certificate)]
    return subprocess.run(question, check=False, capture_output=True).returncode == 0


def _make(openssl: str, wanted: Certificate) -> None:
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-nodes", "-days", str(VALID_DAYS)),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", "/CN=FlowStack local stack"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "keyUsage=critical,digitalSignature"),
            *("-addext", "extendedKeyUsage=serverAuth"),
            *("-keyout", str(wanted.key), "-out", str(wanted.certificate)),
        ],
        check=True,
        capture_output=True,
    )
    wanted.key.chmod(0o600)
