"""Text from a trained language model: a prompt, and what the model goes on with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from harness.data.prepare import PreparedData
from harness.data.tokenizer import Text
from harness.errors import UsageError
from harness.run.drawn import Drawer


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; the fields are those of model_core/sample.py."""

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float


def text_of(prepared: PreparedData) -> Text:
    """What turns the words of a prepared set into ids and back; raises UsageError where it was ids from the start."""
    if prepared.tokenizer is None:
        raise UsageError(
            "--data", f"{prepared.source} came as token ids, without a tokenizer", "add ?tokenizer=PATH to --data"
        )
    return Text.read(prepared.folder / "tokenizer.json", prepared.vocab_size)


def continued(drawer: Drawer, text: Text, prompt: str, sampling: Sampling, most: int, seed: int) -> Iterator[str]:
    """Pieces of text that go on from a prompt, until the model ends it or `most` tokens are drawn."""
    ids = text.ids(prompt) or [text.end]  # nothing to go on from: as after the end of another text
    header = {"sampling": asdict(sampling), "most": most, "end": text.end, "seed": seed}
    drawn: list[int] = []
    shown = whole = ""
    for raw in drawer.draw(header, np.array(ids, "<u2").tobytes()):
        drawn.append(int.from_bytes(raw, "little"))
        whole = text.decoded(drawn)
        if not whole.endswith("\N{REPLACEMENT CHARACTER}"):  # half of a character: the rest is still to come
            yield whole[len(shown) :]
            shown = whole
    if whole != shown:  # it never came
        yield whole[len(shown) :]
