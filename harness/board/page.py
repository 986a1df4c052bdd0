"""Templates: Markdown takes cells that are escaped already, HTML escapes by itself."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from harness.board.markdown import escape, plain

if TYPE_CHECKING:
    from jinja2 import Environment


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
    environment.globals["words"] = escape
    return environment


def page(template: str, **values: object) -> str:
    """The template of that name, filled in."""
    return _environment().get_template(template).render(**values)
