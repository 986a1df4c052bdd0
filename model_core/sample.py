"""Drawing from a language model: the choice of one token, and the loop that goes on from a prompt.

Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model_core import layers, lm


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 0.8  # divides the logits; 0 takes the likeliest token
    top_k: int = 0  # only so many of the likeliest tokens; 0: all
    top_p: float = 1.0  # only the likeliest tokens that have this much probability together
    repetition_penalty: float = 1.0  # above 1: makes tokens of the context less likely


def penalised(logits: Tensor, context: Tensor, penalty: float) -> Tensor:
    """logits (B, V) with those of tokens in context (B, T) lowered: divided when positive, multiplied when negative.

    Keskar et al. 2019 (CTRL) divide both, which makes a negative logit larger and so rewards repeats.
    """
    chosen = logits.gather(-1, context)
    return logits.scatter(-1, context, torch.where(chosen > 0, chosen / penalty, chosen * penalty))


def kept(logits: Tensor, sampling: Sampling) -> Tensor:
    """logits (B, V) with -inf for what `top_k` and `top_p` leave out (Fan et al. 2018; Holtzman et al. 2020)."""
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, place = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # probability of the likelier ones
        beyond = before >= max(sampling.top_p, 1e-6)  # the likeliest one always stays
        beyond = beyond.scatter(-1, place, beyond.clone())
        logits = logits.masked_fill(beyond, -torch.inf)
    return logits


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> Tensor:
    """Token ids (B,) from logits (B, V)."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = kept(logits / sampling.temperature, sampling).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)


class Reader:
    """The logits after the last token of a growing row; keeps keys and values where the model can use them.

    A patched model may mix neighbouring tokens before attention, which reading in pieces would cut apart. So the first
    piece is read in both ways, in fp32, and a model that answers differently is given the whole row each time.
    """

    def __init__(self, model: lm.LM) -> None:
        self.model = model
        self.in_pieces = True
        self.caches: list[layers.Cache] = []
        self.length = 0  # of the row at the last call

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """(B, V) after ids (B, T): the row of the last call and one more token, or another row."""
        self.model.eval()
        longest = self.model.config.max_seq_len
        grown = self.caches and ids.shape[1] == self.length + 1
        self.length = ids.shape[1]
        if not self.in_pieces:
            return self.whole(ids[:, -longest:])
        if grown and self.caches[0].tokens < longest:
            return self.model(ids[:, -1:], self.caches)[:, -1].float()
        return self.anew(ids[:, -(longest // 2 if grown else longest) :])  # a full window makes room for more

    def anew(self, ids: Tensor) -> Tensor:
        with torch.autocast(ids.device.type, enabled=False):  # bf16 differs by more than a model that mixes may
            self.in_pieces = torch.allclose(self.pieces(ids), self.whole(ids), rtol=1e-3, atol=1e-3)
        return self.pieces(ids) if self.in_pieces else self.whole(ids)

    def pieces(self, ids: Tensor) -> Tensor:
        self.caches = [layers.Cache() for _ in self.model.blocks]
        for piece in (ids[:, :-1], ids[:, -1:]) if ids.shape[1] > 1 else (ids,):
            answer = self.model(piece, self.caches)[:, -1].float()
        return answer

    def whole(self, ids: Tensor) -> Tensor:
        return self.model(ids)[:, -1].float()


def continued(
    model: lm.LM, ids: Tensor, sampling: Sampling, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Yields token after token (B,) that goes on from the prompt ids (B, T), T >= 1, without an end of its own."""
    reader = Reader(model)
    while True:
        logits = reader.logits(ids)
        if sampling.repetition_penalty != 1:
            logits = penalised(logits, ids, sampling.repetition_penalty)
        token = draw(logits, sampling, generator)
        ids = torch.cat((ids, token[:, None]), dim=1)
        yield token
