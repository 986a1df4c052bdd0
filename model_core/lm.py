"""A dense decoder-only language model.

- pre-norm blocks: x + attention(norm(x)), x + mlp(norm(x))
- tied embedding: the input is embedding * sqrt(C), the logits are norm(x) embeddingᵀ, without scale or cap
- attention and MLPs as layers.py has them

Shapes: B batch, T tokens, C channels, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_core import layers


@dataclass(frozen=True)
class LMConfig:
    """Shape and training recipe of a language model."""

    vocab_size: int = 49_152
    max_seq_len: int = 2_048  # tokens in a training row, and the most that the model can read
    d_model: int = 512
    n_layers: int = 22
    n_heads: int = 8
    n_kv_heads: int = 4  # each is read by n_heads / n_kv_heads query heads
    d_ff: int = 2_048
    mlp: str = "relu2"  # or "swiglu"
    rope_base: float = 10_000.0
    dropout: float = 0.0  # of what each attention and MLP adds to the stream
    batch_size: int = 8  # rows per update
    optimizer: str = "muon"  # for matrices, with AdamW for the rest; "adamw" for everything
    muon_lr: float = 0.024
    muon_momentum: float = 0.95
    orthogonaliser: str = "polar_express"  # or "newton_schulz"
    up_lr_scale: float = 2.0  # Muon LR of an MLP's `up` matrices relative to muon_lr
    adamw_lr: float = 0.006
    adamw_beta1: float = 0.9
    adamw_beta2: float = 0.999
    weight_decay: float = 0.2  # of AdamW, decoupled
    grad_clip: float = 1.0  # largest norm of all gradients together
    schedule: str = "constant"  # see train.SCHEDULES
    warmup: float = 0.0  # share of the budget over which the LR rises
    decay: float = 0.2  # share of the budget over which the LR falls, for "wsd"
    lr_floor: float = 0.1  # share of the LR at the end, for schedules that fall
    ema: float = 0.0  # decay of the averaged weights that are kept instead of the last ones; 0: the last ones
    compile: bool = True


PRESETS = {
    "tiny": LMConfig(
        vocab_size=4_096,
        max_seq_len=256,
        d_model=192,
        n_layers=5,
        n_heads=6,
        n_kv_heads=3,
        d_ff=512,
        muon_lr=0.024,
        muon_momentum=0.8,
        adamw_lr=0.006,
        schedule="wsd",
        warmup=0.02,
        decay=0.5,
        lr_floor=0.0,
        compile=False,
    ),
    "88m": LMConfig(),
    "151m": LMConfig(
        n_layers=32,
        mlp="swiglu",
        dropout=0.1,
        muon_lr=0.01,
        up_lr_scale=1.0,
        adamw_lr=0.001,
        schedule="cosine",
        warmup=0.01,
    ),
}


class Block(nn.Module):
    """One layer of the residual stream."""

    def __init__(self, config: LMConfig, mlp: nn.Module) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = layers.RMSNorm(config.d_model)
        self.attention = layers.Attention(config.d_model, config.n_heads, config.n_kv_heads)
        self.mlp_norm = layers.RMSNorm(config.d_model)
        self.mlp = mlp

    def forward(self, x: Tensor, rotary: Tensor, cache: layers.Cache | None = None) -> Tensor:
        x = x + self.drop(self.attention(self.attention_norm(x), rotary, cache))
        x = x + self.drop(self.mlp(self.mlp_norm(x)))
        return x

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class LM(layers.Model):
    """Predicts each token from those before it; a batch is one tensor of rows (B, T+1)."""

    normal = frozenset({"token_embedding", "q", "k", "v", "o", "gate", "up", "down"})  # drawn by init_weights

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = layers.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config, self.make_mlp()) for _ in range(config.n_layers))
        self.final_norm = layers.RMSNorm(config.d_model)
        head_dim = config.d_model // config.n_heads
        rotary = torch.empty(config.max_seq_len, head_dim // 2, 2)
        self.register_buffer("rotary", rotary, persistent=False)

    def make_mlp(self) -> nn.Module:
        return layers.MLPS[self.config.mlp](self.config.d_model, self.config.d_ff)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fills every tensor; each is drawn from its own generator, so adding one leaves the others as they were.

        | tensor                  | value      | why                                                 |
        | gain of an RMSNorm      | 1          | starts as the plain norm                            |
        | every other matrix      | N(0, 0.02) | logits begin near 0, the loss near ln(vocabulary)   |
        | rotary                  | the table  | not learnt                                          |
        """
        self.seed = seed
        for name, parameter in self.named_parameters():
            kind = name.removesuffix(".weight").split(".")[-1]
            if kind.endswith("norm"):
                parameter.fill_(1.0)
            elif kind in self.normal:
                draw = torch.empty(parameter.shape).normal_(0.0, 0.02, generator=layers.generator(seed, "init", name))
                parameter.copy_(draw)
            else:
                raise ValueError(f"no initialisation for {name}: add it to {type(self).__name__}.init_weights")
        head_dim = self.config.d_model // self.config.n_heads
        self.rotary.copy_(layers.rotary_table(self.config.max_seq_len, head_dim, self.config.rope_base))

    @property
    def batch_tokens(self) -> int:
        return self.config.batch_size * self.config.max_seq_len

    def take(self, stream) -> tuple[Tensor] | None:
        rows = stream.take(self.config.batch_size, self.config.max_seq_len)
        return None if rows is None else (rows,)

    def made_up(self) -> tuple[Tensor]:
        shape = (self.config.batch_size, self.config.max_seq_len + 1)
        return (torch.randint(self.config.vocab_size, shape),)

    def inputs(self, rows: Tensor) -> tuple[Tensor]:
        return (rows[:, :-1],)

    def hidden(self, ids: Tensor, caches: Sequence[layers.Cache] = ()) -> Tensor:
        """ids (B, T) -> normalised stream (B, T, C).

        With one cache a block, `ids` go on where the tokens in the caches end, and are added to them.
        """
        first = caches[0].tokens if caches else 0
        assert first + ids.shape[1] <= self.config.max_seq_len, "a row is longer than max_seq_len"
        x = self.token_embedding(ids) * math.sqrt(self.config.d_model)  # (B, T, C)
        rotary = self.rotary[first : first + ids.shape[1]]
        for i, block in enumerate(self.blocks):
            x = block(x, rotary, caches[i] if caches else None)
        return self.final_norm(x)

    def forward(self, ids: Tensor, caches: Sequence[layers.Cache] = ()) -> Tensor:
        """ids (B, T) -> logits (B, T, V); `caches` as in `hidden`."""
        return F.linear(self.hidden(ids, caches), self.token_embedding.weight)

    def loss(self, rows: Tensor) -> Tensor:
        """rows (B, T+1) -> mean nats per token of predicting each token from those before it."""
        x = self.hidden(rows[:, :-1])
        return layers.linear_cross_entropy(x, self.token_embedding.weight, rows[:, 1:])
