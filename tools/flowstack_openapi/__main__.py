"""``python -m flowstack_openapi`` brings the file up to date."""

from __future__ import annotations

from flowstack_openapi.document import TARGET, rendered

if __name__ == "__main__":
    TARGET.write_text(rendered(), encoding="utf-8")
    print(f"wrote {TARGET}")
