"""A language model of captions and of the images that they describe, in one stream of tokens.

- an image is the codes of a VQ-VAE, row by row: [BOS] caption <seg_start> codes <seg_end> [EOS]
- one vocabulary: text tokens, then the two markers, then the codes
- the model is lm.LM; what is added is the layout, padding that is not learnt, and drawing an image from a caption

Shapes: B sequences, T tokens, G codes of an image, C channels, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model_core import layers, lm, sample

NO_TOKEN = -1  # fills sequences up to the length of the longest


@dataclass(frozen=True)
class MultimodalConfig(lm.LMConfig):
    """LMConfig with a text vocabulary, two markers and the codes of images."""

    vocab_size: int = 50_178
    text_vocab: int = 49_152
    image_codes: int = 1_024  # G: a grid of 32 x 32
    sequence_tokens: int = 1_040  # what the meter counts for a sequence, whatever its caption
    max_seq_len: int = 2_048
    n_layers: int = 8
    d_ff: int = 1_024
    batch_size: int = 20  # sequences per update
    muon_lr: float = 0.02
    up_lr_scale: float = 1.0

    @property
    def seg_start(self) -> int:
        return self.text_vocab

    @property
    def seg_end(self) -> int:
        return self.text_vocab + 1

    @property
    def first_code(self) -> int:
        return self.text_vocab + 2


PRESETS = {
    "40m": MultimodalConfig(),
    "tiny": MultimodalConfig(
        vocab_size=32 + 2 + 128,
        text_vocab=32,
        image_codes=16,
        sequence_tokens=28,
        max_seq_len=32,
        d_model=128,
        n_layers=4,
        n_heads=4,
        n_kv_heads=2,
        d_ff=384,
        batch_size=64,
        adamw_lr=0.003,
        schedule="wsd",
        warmup=0.02,
        decay=0.5,
        lr_floor=0.0,
        compile=False,
    ),
}


class MultimodalLM(lm.LM):
    """Predicts each token of a caption and its image from those before it; a batch is sequences (B, T+1)."""

    @property
    def batch_tokens(self) -> int:
        return self.config.batch_size * self.config.sequence_tokens

    def take(self, stream) -> tuple[Tensor] | None:
        sequences = stream.take(self.config.batch_size)
        return None if sequences is None else (sequences,)

    def made_up(self) -> tuple[Tensor]:
        shape = (self.config.batch_size, self.config.sequence_tokens)
        return (torch.randint(self.config.vocab_size, shape),)

    def inputs(self, sequences: Tensor) -> tuple[Tensor]:
        return (sequences[:, :-1].clamp_min(0),)  # nothing before the padding sees what stands in its place

    def loss(self, sequences: Tensor) -> Tensor:
        """sequences (B, T+1), NO_TOKEN after their end -> mean nats per token, of captions and images alike."""
        x = self.hidden(*self.inputs(sequences))  # (B, T, C)
        return cross_entropy_of(x, self.token_embedding.weight, sequences[:, 1:])


@torch.compiler.disable  # the number of tokens differs from batch to batch, and each would be compiled anew
def cross_entropy_of(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean over the targets (B, T) that are no NO_TOKEN; x (B, T, C), weight (V, C)."""
    there = targets != NO_TOKEN
    return layers.linear_cross_entropy(x[there][None], weight, targets[there][None])


@torch.no_grad()
def draw_codes(
    model: MultimodalLM, prompt: Tensor, sampling: sample.Sampling, generator: torch.Generator | None = None
) -> Tensor:
    """The codes (B, G) of images for prompts (B, T) that end with <seg_start>, drawn from legal tokens alone."""
    config, reader, ids = model.config, sample.Reader(model), prompt
    assert (prompt[:, -1] == config.seg_start).all(), "a prompt ends with <seg_start>"
    for _ in range(config.image_codes):
        logits = reader.logits(ids)[:, config.first_code :]  # (B, codes): after <seg_start>, nothing else is legal
        code = sample.draw(logits, sampling, generator)
        ids = torch.cat((ids, code[:, None] + config.first_code), dim=1)
    return ids[:, prompt.shape[1] :] - config.first_code
