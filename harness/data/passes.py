"""In which order the items of a train split are served."""

from __future__ import annotations

import numpy as np

from harness.data.stream import shuffled


class Passes:
    """Indices of `count` items in the order of a seed: a pass is a permutation, and every further one is another.

    The order does not depend on how many are taken at a time. The order of a pass takes 8 bytes for each item.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self._passes = 0  # begun so far
        self._order = np.empty(0, np.int64)  # of this pass
        self._position = 0  # in `_order`

    def take(self, items: int) -> np.ndarray:
        """The next indices, (items,)."""
        parts = [np.empty(0, np.int64)]
        while items:
            if self._position == len(self._order):
                self._order = shuffled(self.count, self.seed, self._passes)
                self._passes += 1
                self._position = 0
            parts.append(self._order[self._position : self._position + items])
            self._position += len(parts[-1])
            items -= len(parts[-1])
        return np.concatenate(parts)
