"""Results that others published and nobody here has measured again.

They stand on the board for orientation, in a table of their own: one run of one seed each, with the evaluation inside
the clock and validation text that shares documents with the training text. They are never ranked against ours.
Sources: the leaderboard of the 5-dollar-llm repository at 4ba324f (2026-01-02) and the 24 GB mixture-of-experts
baseline of its second README (2025-12-16); each on one RTX 4090.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRow:
    """One line of somebody else's board."""

    track: str
    budget: str  # as published
    change: str
    loss: float  # validation, nats per token
    time: str  # as published; evaluation included
    accuracy: float | None = None  # percent
    perplexity: float | None = None


_SEARCH = "hyperparameter search: batch 8, 22 layers, Muon 0.024, AdamW 0.006 (SwiGLU)"
_RELU = "squared ReLU"
_POLAR = "Polar Muon"
_FUSED = "fused AdamW"
_BF16 = "model cast to bf16"
_NEW_EVAL = "the same, with evaluations at milestones inside the clock"


def _five_dollar(budget: str, *rows: tuple[str, float, str]) -> tuple[PublishedRow, ...]:
    return tuple(PublishedRow("llm-88m", budget, change, loss, time) for change, loss, time in rows)


PUBLISHED: tuple[PublishedRow, ...] = (
    *_five_dollar(
        "8M",
        (_SEARCH, 4.8466, "104.079 s"),
        (_RELU, 4.8467, "89.209 s"),
        (_POLAR, 4.8363, "88.664 s"),
        (_FUSED, 4.8366, "87.856 s"),
        (_BF16, 4.8403, "86.178 s"),
        (_NEW_EVAL, 4.8387, "119.044 s"),
    ),
    *_five_dollar(
        "20M",
        (_SEARCH, 4.2021, "248.168 s"),
        (_RELU, 4.2087, "212.156 s"),
        (_POLAR, 4.2056, "209.308 s"),
        (_FUSED, 4.2075, "208.591 s"),
        (_BF16, 4.1791, "199.165 s"),
        (_NEW_EVAL, 4.1756, "230.276 s"),
    ),
    *_five_dollar(
        "100M",
        (_SEARCH, 3.7492, "1227.988 s"),
        (_RELU, 3.7526, "1047.059 s"),
        ("Polar Muon and fused AdamW", 3.7609, "1028.637 s"),
        (_BF16, 3.7094, "977.221 s"),
        (_NEW_EVAL, 3.7108, "1004.139 s"),
    ),
    *_five_dollar(
        "1B",
        ("Polar Muon and fused AdamW", 3.3580, "2 h 51 min 31 s"),
        (_BF16, 3.3583, "2 h 42 min 49 s"),
    ),
    PublishedRow(
        "llm-moe",
        "13.1M (800 steps)",
        "24 GB baseline: 8 experts, top 2, QK-norm",
        3.6684,
        "7.06 min",
        accuracy=35.64,
        perplexity=39.19,
    ),
)
