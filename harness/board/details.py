"""What a track measures beside the loss, core beside submission: bins of time, codes in use, nats of captions alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.board.markdown import number
from harness.decide.pairs import Pair
from harness.records.record import RunRecord

if TYPE_CHECKING:
    import pandas as pd


def table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row for each detail, with its mean over the runs of either arm; empty where the track has none."""
    import pandas as pd

    core, submission = [pair.base for pair in pairs], [pair.sub for pair in pairs]
    names = core[0].metrics.details if core else {}
    rows = [(name, _mean(core, name), _mean(submission, name)) for name in names]
    return pd.DataFrame(rows, columns=["detail", "core mean", "submission mean"])


def _mean(runs: Sequence[RunRecord], name: str) -> str:
    told = [run.metrics.details[name] for run in runs if name in run.metrics.details]
    if not told:
        return "–"
    mean = sum(told) / len(told)
    return number(mean, 0 if mean.is_integer() else 4 if abs(mean) < 10 else 1)
