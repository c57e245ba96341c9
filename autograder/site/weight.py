"""What a page weighs: its HTML and every picture that it names; not what all pages share."""

from __future__ import annotations

import re
from pathlib import Path

LIMIT = 2_000_000  # bytes of one page
ASSET = re.compile(r'["\'(]([^"\'()<>\s]+\.(?:webp|png|jpe?g|gif|svg))["\')]')


def pages(site: Path) -> dict[Path, int]:
    """The bytes of each page of the site."""
    return {page: _weigh(page) for page in sorted(site.rglob("*.html"))}


def shared(site: Path) -> int:
    """The bytes of scripts, styles, fonts and the search index, which a browser fetches once, and only if needed."""
    files = [*site.glob("*.js"), *(p for p in (site / "_static").rglob("*") if p.is_file())]
    own = {"figures", "download"}
    return sum(p.stat().st_size for p in files if not own & set(p.relative_to(site).parts))


def _weigh(page):
    text = page.read_text(encoding="utf-8")
    named = {(page.parent / name).resolve() for name in ASSET.findall(text)}
    return len(text.encode()) + sum(p.stat().st_size for p in named if p.is_file())
