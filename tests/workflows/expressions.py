"""The expressions of GitHub workflows that ours use, evaluated; anything else is an error rather than a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
STATUS = re.compile(r"\b(always|cancelled|success|failure)\(\)")
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|==|&&|!|[A-Za-z_][\w.-]*(?:\(\))?)")


def value_of(expression: str, context: Mapping[str, Any]) -> Any:
    """`a.b`, 'text', f(), !x, x == y and x && y, the loosest last; status functions are keys of `context`."""
    words, end = [], 0
    while expression[end:].strip():
        found = _TOKEN.match(expression, end)
        assert found, f"this evaluator does not know {expression[end:]!r}"
        words.append(found[1])
        end = found.end()
    value = _both(words, context)
    assert not words, f"left over of {expression!r}: {words}"
    return value


def resolved(text: Any, context: Mapping[str, Any]) -> Any:
    """A value of a workflow file with its expressions replaced: the value itself where it is one expression alone."""
    if not isinstance(text, str):
        return text
    whole = EXPRESSION.fullmatch(text)
    if whole:
        return value_of(whole[1], context)
    return EXPRESSION.sub(lambda found: as_text(value_of(found[1], context)), text)


def as_text(value: Any) -> str:
    """What becomes of a value in an environment variable."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _both(words: list[str], context: Mapping[str, Any]) -> Any:
    value = _equal(words, context)
    while words and words[0] == "&&":
        words.pop(0)
        right = _equal(words, context)
        value = right if value else value
    return value


def _equal(words: list[str], context: Mapping[str, Any]) -> Any:
    value = _single(words, context)
    if words and words[0] == "==":
        words.pop(0)
        return as_text(value).casefold() == as_text(_single(words, context)).casefold()
    return value


def _single(words: list[str], context: Mapping[str, Any]) -> Any:
    word = words.pop(0)
    if word == "!":
        return not _single(words, context)
    if word.startswith("'"):
        return word[1:-1].replace("''", "'")
    if word.endswith("()"):
        return context[word]
    value: Any = context
    for part in word.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    assert value is not None or word.split(".")[0] in context, f"there is no context {word!r}"
    return value
