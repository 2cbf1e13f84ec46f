"""``python -m flowstack_docs`` brings the tables of every page up to date."""

from __future__ import annotations

from flowstack_docs.pages import documented_pages, refreshed

if __name__ == "__main__":
    for page in documented_pages():
        before = page.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page}")
