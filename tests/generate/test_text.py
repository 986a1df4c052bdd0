"""Text as it is shown while a model writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.data.tokenizer import Text
from harness.generate.text import Sampling, continued
from harness.run.drawn import Drawer


class Bytes(Text):
    """A token is a byte."""

    def __init__(self) -> None:
        pass

    @property
    def end(self) -> int:
        return 256

    def ids(self, text: str) -> list[int]:
        return list(text.encode())

    def decoded(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


class Says(Drawer):
    def __init__(self, said: bytes) -> None:
        self.said = said

    def draw(self, header: dict[str, Any], raw: bytes) -> Iterator[bytes]:
        self.prompt = raw
        for byte in self.said:
            yield byte.to_bytes(2, "little")


def pieces(said: bytes, prompt: str = "a") -> list[str]:
    return list(continued(Says(said), Bytes(), prompt, Sampling(1.0, 0, 1.0, 1.0), 99, 0))


@pytest.mark.parametrize("said", ["", "plain", "naïve", "…", "日本語"])
def test_the_pieces_are_the_text_and_no_piece_holds_half_a_character(said: str) -> None:
    found = pieces(said.encode())
    assert "".join(found) == said and all("\N{REPLACEMENT CHARACTER}" not in piece for piece in found)


def test_half_a_character_at_the_end_is_still_shown() -> None:
    assert pieces(b"ab\xe2\x80") == ["a", "b", "\N{REPLACEMENT CHARACTER}"]


def test_without_a_prompt_a_text_begins_as_after_the_end_of_another() -> None:
    drawer = Says(b"x")
    list(continued(drawer, Bytes(), "", Sampling(1.0, 0, 1.0, 1.0), 99, 0))
    assert drawer.prompt == (256).to_bytes(2, "little")
