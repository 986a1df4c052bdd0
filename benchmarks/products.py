"""The matrix products and convolutions of a piece of work, kept with their operands so that they alone can be timed."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten
PRODUCTS = (
    aten.mm.default,
    aten.bmm.default,
    aten.addmm.default,
    aten.convolution.default,
    aten.convolution_backward.default,
)


class Products(TorchDispatchMode):
    """Keeps every product that runs under it; those of a matrix and a vector are no work to speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS and all(1 not in value.shape[-2:] for value in args[:2] if value.ndim < 4):
            self.calls.append((func, tree_map_only(torch.Tensor, lambda value: value.detach().clone(), args)))
        return func(*args, **(kwargs or {}))

    def replay(self) -> None:
        """All products, one after the other."""
        for func, args in self.calls:
            func(*args)
