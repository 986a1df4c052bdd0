"""Templates: Markdown takes cells that are escaped already, HTML escapes by itself."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from harness.board.markdown import escape, plain

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("harness.board"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = escape
    environment.filters["plain"] = plain
    environment.filters["web"] = is_web
    environment.filters["coded"] = coded
    environment.globals["size"] = size
    environment.globals["words"] = escape
    return environment


def is_web(link: str | None) -> bool:
    """Whether a stranger's link may be one on a page: only http and https lead somewhere and do nothing."""
    return link is not None and re.fullmatch(r"""https?://[^\s"'<>`\\]+""", link) is not None


def coded(text: str) -> Markup:
    """HTML of a rule's words, where backticks mean code."""
    from markupsafe import Markup, escape

    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def size(svg: str) -> Markup:
    """Width and height of a figure as attributes, so that a page does not jump when it arrives."""
    from markupsafe import Markup

    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found, "a figure says how large it is"
    width, height = (round(float(points) * 4 / 3) for points in found.groups())
    return Markup('width="{}" height="{}"').format(width, height)


def page(template: str, **values: object) -> str:
    """The template of that name, filled in."""
    return _environment().get_template(template).render(**values)
