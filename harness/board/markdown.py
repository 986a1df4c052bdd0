"""Making text that strangers wrote harmless in Markdown, and numbers readable.

Titles, names and reasons come from submissions. On a page of ours they are words and nothing else: no table cells,
links, HTML, mentions, mathematics or terminal codes of their own.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Sequence

# Everything that GitHub's Markdown gives a meaning inside a line. An entity is shown as its character and never parsed.
_ACTIVE = str.maketrans({mark: f"&#{ord(mark)};" for mark in "\\`*_{}[]<>#!|~$&\"'"})


def plain(text: str, limit: int = 160) -> str:
    """One line without control, invisible or direction-changing characters, of at most `limit` characters."""
    head = text[: 8 * limit]  # a name of many kilobytes is not worth walking through
    kept = (" " if unicodedata.category(mark) in ("Cc", "Zl", "Zp") else mark for mark in head)
    visible = "".join(mark for mark in kept if unicodedata.category(mark)[0] != "C")
    line = " ".join(visible.split())
    return line if len(line) <= limit and len(text) == len(head) else line[: limit - 1].rstrip() + "…"


def escape(text: str, limit: int = 160) -> str:
    """`plain`, with every active character of Markdown as an entity; safe in a table cell, a list and a heading."""
    words = plain(text, limit).translate(_ACTIVE)
    words = re.sub(r"&#91;([-−\d., ]+)&#93;(?![(:&])", r"[\1]", words)  # an interval is no link
    words = words.replace("@", "&#64;&#8203;")  # the invisible space keeps GitHub from notifying anybody
    words = re.sub(r"(?i)\bwww\.|://", lambda found: f"{found[0][:-1]}&#{ord(found[0][-1])};", words)  # no bare links
    return re.sub(r"^([-+=]|\d+[.)])(?=\s)", lambda found: f"{found[0][:-1]}&#{ord(found[0][-1])};", words)  # no lists


def file_stem(slug: str) -> str:
    """A file name for a submission; slugs that `check` would refuse get a digest, so they never leave the folder."""
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", slug):
        return slug
    readable = re.sub(r"[^a-z0-9]+", "-", slug[:200].lower()).strip("-")[:40]
    return f"{readable}-{hashlib.sha256(slug.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}".lstrip("-")


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """A number with a fixed count of decimals; a dash where there is none, and a true minus sign."""
    if value is None or not math.isfinite(value):
        return "–"
    value = round(value, digits) + 0.0  # a gap that rounds away has no sign
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", "−")


def interval(bounds: Sequence[float] | None, digits: int = 4) -> str:
    """`[low, high]`, or nothing."""
    return "" if bounds is None else f"[{number(bounds[0], digits)}, {number(bounds[1], digits)}]"


def count(value: float, sign: bool = False) -> str:
    """A count of tokens in three digits: 65.5k, 1.00M, 1.00B."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            digits = max(0, 2 - math.floor(math.log10(abs(scaled) * 1.0005)))
            return number(scaled, digits, sign) + unit
    return number(value, 0, sign)


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 41.3 s, 12 min 5 s, 2 h 51 min."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
