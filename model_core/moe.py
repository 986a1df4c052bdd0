"""A language model whose MLPs are routed experts.

- noisy top-k routing (Shazeer et al. 2017): Gaussian noise on the logits in training, softmax over the chosen k
- experts of two matrices with SiLU between them; no capacity, so no token is dropped and none depends on later ones
- a load-balancing loss a layer: E * sum over experts of (share of slots) * (mean probability), 1 when balanced

Shapes: B batch, T tokens, C channels, N = B*T, E experts, k experts a token, F width of an expert.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_core import layers, lm


@dataclass(frozen=True)
class MoEConfig(lm.LMConfig):
    """LMConfig with experts; `d_ff` is the width of one expert and `mlp` has no say."""

    n_experts: int = 8
    top_k: int = 2  # experts that a token passes through
    router_noise: float = 0.1  # standard deviation, on the logits
    balance_weight: float = 0.01  # of the load-balancing loss
    max_seq_len: int = 1_024
    n_layers: int = 8
    n_kv_heads: int = 8
    dropout: float = 0.1
    batch_size: int = 16
    muon_lr: float = 0.04
    orthogonaliser: str = "newton_schulz"
    up_lr_scale: float = 1.0
    schedule: str = "cosine"
    warmup: float = 0.05
    compile: bool = False  # how many tokens an expert gets is known only at run time


PRESETS = {
    "moe": MoEConfig(),
    "debug": MoEConfig(
        max_seq_len=128,
        d_model=128,
        n_layers=2,
        n_heads=4,
        n_kv_heads=4,
        d_ff=512,
        n_experts=4,
        batch_size=2,
        muon_lr=0.01,
        adamw_lr=0.001,
    ),
}


def load_balance(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """E * sum_e f_e P_e: probabilities (N, E), chosen (N, k) -> scalar (Fedus et al. 2022, equation 4, for k slots)."""
    n_experts = probabilities.shape[-1]
    share = F.one_hot(chosen.flatten(), n_experts).float().mean(0)  # (E,)
    return n_experts * (share * probabilities.mean(0)).sum()


class Experts(nn.Module):
    """Sends each token through its k best experts and adds their answers by weight."""

    def __init__(self, config: MoEConfig) -> None:
        super().__init__()
        self.config = config
        self.router = layers.Linear(config.d_model, config.n_experts)
        self.up = nn.Parameter(torch.empty(config.n_experts, config.d_ff, config.d_model))
        self.down = nn.Parameter(torch.empty(config.n_experts, config.d_model, config.d_ff))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)  # (N, C)
        weights, chosen = self.route(tokens)  # (N, k)
        y = torch.zeros_like(tokens, dtype=torch.float32)
        for e in range(self.config.n_experts):
            rows, slot = (chosen == e).nonzero(as_tuple=True)
            h = F.silu(F.linear(tokens[rows], self.up[e]))  # (n, F)
            h = F.dropout(h, self.config.dropout, self.training)
            answer = F.linear(h, self.down[e])  # (n, C)
            y = y.index_add(0, rows, answer * weights[rows, slot, None])
        return y.view_as(x)

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (N, C) -> weights and experts (N, k); leaves the load-balancing loss in `self.balance`."""
        logits = self.router(tokens).float()  # (N, E)
        if self.training:
            logits = logits + self.config.router_noise * torch.randn_like(logits)
        best, chosen = logits.topk(self.config.top_k)
        self.balance = load_balance(logits.softmax(-1), chosen)
        return best.softmax(-1), chosen


class MoELM(lm.LM):
    """A language model with `Experts` in every block."""

    normal = lm.LM.normal | {"router"}

    def make_mlp(self) -> nn.Module:
        return Experts(self.config)

    def loss(self, rows: Tensor) -> Tensor:
        """rows (B, T+1) -> mean nats per token, plus the weighted load-balancing losses of all layers."""
        nats = super().loss(rows)
        balance = sum(block.mlp.balance for block in self.blocks)
        return nats + self.config.balance_weight * balance

    def active_parameter_count(self) -> int:
        experts = sum(p.numel() for block in self.blocks for p in (block.mlp.up, block.mlp.down))
        idle = experts * (self.config.n_experts - self.config.top_k) // self.config.n_experts
        return self.parameter_count() - idle
