"""The optimizer: Muon for matrices inside the network, AdamW for embeddings and gains.

- Muon (Jordan et al. 2024): EMA momentum, Nesterov, then the nearest orthogonal matrix times sqrt(max(1, rows/cols))
- orthogonalisation by Polar Express (Amsel et al. 2025) or by the Newton-Schulz iteration of the original
- AdamW (Loshchilov and Hutter 2019), weight decay on embeddings and gains as well

The functions on tensors hold the arithmetic; the class only moves state, which is fp32 in every precision.
"""

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from model_core import layers

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
NEWTON_SCHULZ = ((3.4445, -4.7750, 2.0315),) * 5


def orthogonalise(g: Tensor, coefficients: tuple[tuple[float, float, float], ...], slack: float) -> Tensor:
    """U Vᵀ of g = U S Vᵀ, nearly, by odd polynomials of the singular values; g (..., rows, cols), in its own dtype.

    `slack` > 1 keeps the largest singular value below 1 through rounding.
    """
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g  # the Gram matrix of the shorter side is the smaller one
    x = x / (slack * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for a, b, c in coefficients:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def polar_express(g: Tensor) -> Tensor:
    """Five steps of Polar Express, each optimal for what the one before leaves; g (..., rows, cols)."""
    return orthogonalise(g, POLAR_EXPRESS, slack=1.01)


def newton_schulz(g: Tensor) -> Tensor:
    """Five steps of the original iteration, which ends with singular values between about 0.7 and 1.2."""
    return orthogonalise(g, NEWTON_SCHULZ, slack=1.0)


ORTHOGONALISERS = {"polar_express": polar_express, "newton_schulz": newton_schulz}


def muon_direction(g: Tensor, momentum: Tensor, beta: float, orthogonal: Callable[[Tensor], Tensor], dtype) -> Tensor:
    """Updates the momentum in place and returns the step at learning rate 1; g and momentum (n, rows, cols), fp32."""
    momentum.lerp_(g, 1 - beta)
    ahead = g.lerp(momentum, beta)  # Nesterov
    rows, cols = g.shape[-2:]
    return orthogonal(ahead.to(dtype)).float() * max(1.0, rows / cols) ** 0.5


def adamw_(p: list, g: list, m: list, v: list, step: int, lr: float, betas, weight_decay: float, eps: float) -> None:
    """One AdamW step on lists of tensors, in place, as torch.optim.AdamW computes it."""
    beta1, beta2 = betas
    torch._foreach_mul_(p, 1 - lr * weight_decay)
    torch._foreach_lerp_(m, g, 1 - beta1)
    torch._foreach_mul_(v, beta2)
    torch._foreach_addcmul_(v, g, g, 1 - beta2)
    scale = torch._foreach_sqrt(v)
    torch._foreach_div_(scale, (1 - beta2**step) ** 0.5)
    torch._foreach_add_(scale, eps)
    torch._foreach_addcdiv_(p, m, scale, -lr / (1 - beta1**step))


def groups(model: nn.Module) -> list[dict]:
    """The parameter groups of a model: Muon for matrices that are not embeddings, AdamW for everything else."""
    config = model.config
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, layers.Embedding)}
    found = defaultdict(list)
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
        if not matrix or config.optimizer == "adamw":
            found["adamw", config.adamw_lr].append(parameter)
        elif ".up" in name:
            found["muon", config.muon_lr * config.up_lr_scale].append(parameter)
        else:
            found["muon", config.muon_lr].append(parameter)
    result = [{"kind": kind, "params": params, "lr": lr, "peak_lr": lr} for (kind, lr), params in found.items()]
    grouped = [id(parameter) for group in result for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, model.parameters())), "every parameter is in exactly one group"
    return result


class MuonAdamW:
    """Muon and AdamW behind one `step`; `dtype` is what the orthogonalisation runs in.

    Has what a GradScaler asks of an optimizer, but does not inherit from torch's: its base class loads the compiler,
    a second in every process.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        config = model.config
        self.config = config
        self.param_groups = groups(model)
        self.state = defaultdict(dict)  # of a group of tensors, under the first of them
        self.dtype = dtype
        orthogonal = ORTHOGONALISERS[config.orthogonaliser]
        self.orthogonal = torch.compile(orthogonal) if config.compile else orthogonal

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            if group["kind"] == "muon":
                self.muon_step(group)
            else:
                self.adamw_step(group)

    def state_dict(self) -> list[tuple[int, dict]]:
        """The state with parameters by their place in the groups."""
        place = {id(p): i for i, p in enumerate(self.parameters())}
        return [(place[id(p)], dict(state)) for p, state in self.state.items()]

    def load_state_dict(self, saved: list[tuple[int, dict]]) -> None:
        parameters = self.parameters()
        self.state = defaultdict(dict, {parameters[i]: dict(state) for i, state in saved})

    def parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self) -> None:
        for p in self.parameters():
            p.grad = None

    def muon_step(self, group: dict) -> None:
        """Equal shapes go through the orthogonalisation together: fewer and larger products."""
        by_shape = defaultdict(list)
        for p in group["params"]:
            by_shape[p.shape].append(p)
        for shape, params in by_shape.items():
            state = self.state[params[0]]
            g = torch.stack([p.grad for p in params]).view(-1, *shape[-2:])  # (n, rows, cols)
            if not state:
                state["momentum"] = torch.zeros_like(g)
            step = muon_direction(g, state["momentum"], self.config.muon_momentum, self.orthogonal, self.dtype)
            torch._foreach_add_(params, list(step.view(-1, *shape)), alpha=-group["lr"])

    def adamw_step(self, group: dict) -> None:
        params, config = group["params"], self.config
        state = self.state[params[0]]
        if not state:
            state["step"] = 0
            state["m"] = [torch.zeros_like(p) for p in params]
            state["v"] = [torch.zeros_like(p) for p in params]
        state["step"] += 1
        grads = [p.grad for p in params]
        betas = config.adamw_beta1, config.adamw_beta2
        adamw_(params, grads, state["m"], state["v"], state["step"], group["lr"], betas, config.weight_decay, 1e-8)
