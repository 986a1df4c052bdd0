"""Tokens are drawn from a patched model as it was trained, also where it cannot be read a token at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.run import drawing
from model_core import layers, lm, multimodal, sample, train

SMALL = dataclasses.replace(
    lm.PRESETS["tiny"], vocab_size=97, max_seq_len=64, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64
)
CAPTIONED = multimodal.PRESETS["tiny"]
GREEDY = {"sampling": {"temperature": 0}, "seed": 1, "end": -1}


class Earlier(layers.Embedding):
    """Adds to each token's embedding that of an earlier one."""

    reach = 1

    def forward(self, ids: Tensor) -> Tensor:
        x = super().forward(ids)
        return x + nn.functional.pad(x, (0, 0, self.reach, 0))[:, : ids.shape[1]]


class Places(multimodal.MultimodalLM):
    """Adds a vector to each code, counted from the marker before the image."""

    normal = lm.LM.normal | {"place"}

    def __init__(self, config: multimodal.MultimodalConfig) -> None:
        super().__init__(config)
        self.place = layers.Embedding(config.image_codes + 1, config.d_model)

    def hidden(self, ids: Tensor, caches: object = ()) -> Tensor:
        inside = (ids == self.config.seg_start).cumsum(1)
        place = self.place((inside.cumsum(1) - 1).clamp(0, self.config.image_codes)) * inside[..., None]
        self.token_embedding.now = place  # type: ignore[assignment]
        return super().hidden(ids, caches)  # type: ignore[arg-type]


class Placed(layers.Embedding):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) + self.now  # type: ignore[operator]


@pytest.fixture(autouse=True)
def own_reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sample, "Reader", sample.Reader)
    drawing.samplers.cache_clear()
    yield
    drawing.samplers.cache_clear()


def filled(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3, generator=generator)
    return model


def by_whole_rows(model: nn.Module, ids: list[int], most: int, first: int = 0) -> list[int]:
    with torch.no_grad():
        for _ in range(most):
            ids = [*ids, first + int(model(torch.tensor([ids]))[0, -1, first:].argmax())]
    return ids[-most:]


@pytest.mark.parametrize(("reach", "prompt"), [(1, [5]), (1, [5, 6, 7]), (3, [5, 6])])
def test_a_model_that_looks_at_earlier_tokens_goes_on_as_it_reads_whole_rows(reach: int, prompt: list[int]) -> None:
    model = filled(train.build(lm.LM, SMALL, 0, "cpu"))
    embedding = model.token_embedding
    embedding.__class__ = type("Earlier", (Earlier,), {"reach": reach})
    raw = np.array(prompt, "<u2").tobytes()
    found = drawing.text(torch, model, torch.device("cpu"), {**GREEDY, "most": 12}, raw)
    assert [int.from_bytes(token, "little") for token in found] == by_whole_rows(model, prompt, 12)


def test_a_model_that_counts_from_the_marker_draws_codes_as_it_reads_whole_rows() -> None:
    model = filled(train.build(Places, CAPTIONED, 0, "cpu"))
    model.token_embedding.__class__ = Placed
    prompt = [3, 9, CAPTIONED.seg_start]
    raw, order = np.array(prompt, "<u2").tobytes(), {**GREEDY, "rows": 1, "at_once": 1}
    (found,) = drawing.codes(torch, model, torch.device("cpu"), order, raw)
    first = CAPTIONED.first_code
    expected = [id - first for id in by_whole_rows(model, prompt, CAPTIONED.image_codes, first)]
    assert np.frombuffer(found, "<u2").tolist() == expected


def test_the_core_itself_reads_each_token_once_but_where_the_row_has_doubled() -> None:
    model, lengths = filled(train.build(lm.LM, SMALL, 0, "cpu")), []
    model.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    list(drawing.text(torch, model, torch.device("cpu"), {**GREEDY, "most": 20}, np.array([5] * 9, "<u2").tobytes()))
    alone = [length for length in lengths if length == 1]
    assert len(alone) >= 19 and sum(lengths) - len(alone) < 10 * 16
