"""The parts of a transformer block.

- RMSNorm with one eps in every precision
- rotary embedding of interleaved pairs, over the token axis
- grouped-query attention: QK-norm, then rotation, scale 1/sqrt(D); keys and values may be kept for generation
- MLPs without bias: squared ReLU and SwiGLU
- cross entropy of a linear head, in pieces

Shapes: B batch, T tokens, S tokens that are read, C channels, H query heads, K key/value heads, D head dim, F width of
an MLP, V vocabulary.
"""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded with sha256 of `key`, so that one draw never depends on which others were made before."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Model(nn.Module):
    """What train.py asks of every model.

    The constructor takes a config and only allocates, so that it works on the meta device; `init_weights` fills. A
    batch is a tuple of tensors with one row per example: `take` gets one from a stream (None at its end), `made_up`
    invents one of the same shapes, `inputs` turns one into what `forward` takes, `loss` into the mean loss.
    """

    seed = 0  # of the weights and of everything that is drawn in training

    @property
    def batch_tokens(self) -> int:
        """Tokens of one update."""
        raise NotImplementedError

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def active_parameter_count(self) -> int:
        """Parameters that one token passes through."""
        return self.parameter_count()


class Linear(nn.Module):
    """x Wᵀ without bias; unlike torch's, the constructor draws nothing."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class Embedding(nn.Module):
    """Row `id` of the table for each id; unlike torch's, the constructor draws nothing."""

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, dim))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class Normalise(torch.autograd.Function):
    """x / rms(x) * gain with its gradient by hand: derived automatically, an update of tiny takes 6 % longer."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        """x (..., C), gain (C,) -> fp32 (..., C)."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)  # squares and sums in one pass
        scale = (norm.square() / x.shape[-1] + eps).rsqrt()
        unit = x * scale
        ctx.save_for_backward(unit, scale, gain)
        ctx.dtype = x.dtype
        return unit * gain

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, y_grad: Tensor):
        unit, scale, gain = ctx.saved_tensors
        product = y_grad * unit
        along = (product @ gain[:, None]) / len(gain)  # the part of the gradient that only changes the length of x
        x_grad = torch.addcmul(y_grad * gain, unit, along, value=-1) * scale
        return x_grad.to(ctx.dtype), product.flatten(0, -2).sum(0), None


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last axis, in fp32 (Zhang and Sennrich 2019)."""

    eps = 1e-6  # a constant: torch's default is the eps of the input's dtype, 7.8e-3 in bf16

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        return Normalise.apply(x, self.weight, self.eps)


def rotary_table(tokens: int, head_dim: int, base: float) -> Tensor:
    """Cosine and sine of position * base^(-2i/D) for the pairs i of a head: (T, D/2, 2), Su et al. 2021."""
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(torch.arange(tokens, dtype=torch.float32), frequency)
    return torch.stack((angle.cos(), angle.sin()), dim=-1)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Turns each interleaved pair of channels by its angle; x (B, T, H, D) fp32, rotary (T, D/2, 2)."""
    x, rotary = x.unflatten(-1, (-1, 2)), rotary[:, None]  # one angle per token, the same for every head
    if torch.compiler.is_compiling():  # it fuses real arithmetic only; complex is five times as fast uncompiled
        (a, b), (cos, sin) = x.unbind(-1), rotary.unbind(-1)
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)
    return torch.view_as_real(torch.view_as_complex(x) * torch.view_as_complex(rotary)).flatten(-2)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Attention, query head h reading key head h // (H/K); q (B, T, H, D), k, v (B, S, K, D) -> (B, T, H, D).

    If causal, the queries are the last T of the S tokens and read themselves and those before.
    """
    function = attend_plainly if q.device.type == "cpu" else attend_fused
    return function(q, k, v, causal)


def attend_fused(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """`attend` by torch's kernels, which know whole rows without a mask; a single query reads everything anyway."""
    T, S = q.shape[1], k.shape[1]
    past = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T) if causal and 1 < T < S else None
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, past, is_causal=causal and T == S, enable_gqa=True).transpose(1, 2)


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """`attend` as matrix products: at 256 tokens in bf16 2.4 times as fast as the fused CPU kernel and its backward."""
    (B, T, H, D), (S, K) = q.shape, k.shape[1:3]
    q = (q * D**-0.5).view(B, T, K, H // K, D).permute(0, 2, 3, 1, 4).reshape(B * K, -1, D)  # (B*K, H/K*T, D)
    k = k.transpose(1, 2).reshape(B * K, S, D)
    v = v.transpose(1, 2).reshape(B * K, S, D)
    scores = (q @ k.mT).view(B * K, -1, T, S)
    if causal:
        scores = scores + torch.full((T, S), -torch.inf, dtype=q.dtype, device=q.device).triu(1 + S - T)
    y = scores.softmax(-1).flatten(1, 2) @ v  # (B*K, H/K*T, D)
    return y.view(B, K, H // K, T, D).permute(0, 3, 1, 2, 4).flatten(2, 3)


class Cache:
    """Keys and values that one layer has computed, so that generation reads each token once."""

    def __init__(self) -> None:
        self.k: Tensor | None = None  # (B, S, K, D)
        self.v: Tensor | None = None

    @property
    def tokens(self) -> int:
        return 0 if self.k is None else self.k.shape[1]

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Appends those of new tokens (B, T, K, D); returns all of them."""
        self.k = k if self.k is None else torch.cat((self.k, k), dim=1)
        self.v = v if self.v is None else torch.cat((self.v, v), dim=1)
        return self.k, self.v


class Attention(nn.Module):
    """Grouped-query attention with normalised, rotated queries and keys."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int, causal: bool = True) -> None:
        super().__init__()
        self.causal = causal
        self.head_dim = d_model // n_heads
        self.heads = (n_heads, n_kv_heads, n_kv_heads)
        self.q = Linear(d_model, n_heads * self.head_dim)
        self.k = Linear(d_model, n_kv_heads * self.head_dim)
        self.v = Linear(d_model, n_kv_heads * self.head_dim)
        self.o = Linear(n_heads * self.head_dim, d_model)
        self.q_norm = RMSNorm(self.head_dim)
        self.k_norm = RMSNorm(self.head_dim)

    def forward(self, x: Tensor, rotary: Tensor, cache: Cache | None = None) -> Tensor:
        # three matrices, so that each is orthogonalised by itself, but one product
        qkv = F.linear(x, torch.cat((self.q.weight, self.k.weight, self.v.weight)))
        q, k, v = qkv.unflatten(-1, (-1, self.head_dim)).split(self.heads, dim=2)  # (B, T, H | K | K, D)
        q = rotate(self.q_norm(q), rotary).to(v.dtype)
        k = rotate(self.k_norm(k), rotary).to(v.dtype)
        if cache is not None:
            k, v = cache.extend(k, v)  # (B, S, K, D)
        y = attend(q, k, v, self.causal)  # (B, T, H, D)
        return self.o(y.flatten(2))


class SquaredReLU(nn.Module):
    """down(max(0, up(x))^2), So et al. 2021."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up = Linear(d_model, d_ff)
        self.down = Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.up(x)).square()  # (B, T, F)
        return self.down(h)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), Shazeer 2020."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate = Linear(d_model, d_ff)
        self.up = Linear(d_model, d_ff)
        self.down = Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.gate(x)) * self.up(x)  # (B, T, F)
        return self.down(h)


MLPS = {"relu2": SquaredReLU, "swiglu": SwiGLU}


class LinearCrossEntropy(torch.autograd.Function):
    """Sum of the cross entropies of the logits x Wᵀ, without ever holding all of them.

    The gradient needs the probabilities that the loss has just computed, so both are taken while a piece of the logits
    is in the cache. Logits and probabilities keep the dtype of x: a pass over them in fp32 costs 5 % of a tiny update.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        """x (N, C), weight (V, C) of one dtype, targets (N,), rows of x in a piece -> scalar fp32."""
        x_grad = []
        weight_grad = torch.zeros_like(weight, dtype=torch.float32)
        loss = torch.zeros((), device=x.device)
        for part, target in zip(x.split(rows), targets.split(rows), strict=True):
            slope = (part @ weight.T).softmax(-1)  # (n, V)
            row = torch.arange(len(target), device=x.device)
            likelihood = slope[row, target]
            loss -= likelihood.float().clamp_min(1e-38).log().sum()  # at most 87.5 nats a token
            slope[row, target] = likelihood - 1  # now d loss / d logits; scatter_ would copy all of it twice
            x_grad.append(slope @ weight)
            weight_grad += slope.T @ part
        ctx.save_for_backward(torch.cat(x_grad), weight_grad)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, loss_grad: Tensor):
        x_grad, weight_grad = ctx.saved_tensors
        return x_grad * loss_grad, weight_grad * loss_grad, None, None


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor, rows: int = 512) -> Tensor:
    """Mean over all positions of -ln softmax(x Wᵀ)[target] in nats; x (B, T, C), weight (V, C), targets (B, T).

    `rows` of x are multiplied with all of W at a time.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
    total = LinearCrossEntropy.apply(x.flatten(0, 1), weight, targets.flatten(), rows)
    return total / targets.numel()
