"""The tables of the board, as pandas frames of finished Markdown cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.board.entries import Effect, Entry
from harness.board.ladders import Ladder, Standing
from harness.board.markdown import count, escape, file_stem, interval, number
from harness.board.noise import Noise
from harness.board.published import PublishedRow
from harness.decide.stats import exp
from harness.tracks import BUDGETS, TRACKS

if TYPE_CHECKING:
    import pandas as pd

REASON_LIMIT = 200  # characters of a reason; the whole of it is in the report


@dataclass(frozen=True)
class LadderTable:
    """A ladder under its heading."""

    heading: str
    frame: pd.DataFrame


def ladders(made: Sequence[Ladder]) -> list[LadderTable]:
    """A table for each ladder."""
    import pandas as pd

    shown = []
    for ladder in made:
        place = "loss" if ladder.metric == "loss" else f"time on {escape(ladder.host_class)}"
        heading = f"{ladder.budget}: {place} (data {escape(ladder.data_id[:8])})"
        shown.append(LadderTable(heading, pd.DataFrame([_record(row) for row in ladder.rows])))
    return shown


def _record(row: Standing) -> dict[str, object]:
    """One row of a ladder; the numbers are those of the confirm round."""
    entry, effect = row.entry, row.entry.confirmed
    assert effect is not None, "a confirmed entry has confirm pairs"
    return {
        "#": "–" if row.rank is None else str(row.rank),
        "date": entry.date,
        "idea (by)": idea(entry),
        "kind": entry.kind,
        "loss ± sd (n)": loss(effect),
        "gain [interval]": gain(entry, effect),
        "time ×": number(effect.time_ratio, 3),
        "net tokens": net_tokens(entry, effect),
        "lines": lines(entry),
        "larger budgets": larger(row),
        "evidence": "; ".join(part for part in (escape(entry.host_class, 80), row.replicated) if part),
        "state": marks(entry, "stale" if row.rank is None and entry.state == "confirmed" else entry.state),
    }


def idea(entry: Entry) -> str:
    """Title, linked to its report where one is committed, and who made it."""
    evaluation = entry.evaluation
    title = escape(evaluation.title or evaluation.slug, 80)
    if evaluation.official:
        title = f"[{title}](reports/{quote(file_stem(evaluation.slug))}.md)"
    if evaluation.parents:
        title += " given " + ", ".join(escape(parent, 40) for parent in evaluation.parents)
    authors = ", ".join(escape(author, 40) for author in evaluation.authors[:4])
    more = " and others" if len(evaluation.authors) > 4 else ""
    return f"{title} ({authors}{more})" if authors else title


def loss(effect: Effect) -> str:
    sd = "" if effect.loss_sd is None else f" ± {number(effect.loss_sd)}"
    return f"{number(effect.loss)}{sd} ({effect.pairs})"


def gain(entry: Entry, effect: Effect) -> str:
    """Nats for a claim on loss; per cent of time saved for one on speed."""
    if entry.cell.metric == "loss":
        return f"{number(effect.gain, sign=True)} {interval(effect.gain_interval)}".rstrip()
    saved = time_saved(effect)
    return "–" if saved is None else f"{number(saved[0], 2, sign=True)} % {interval(saved[1:], 2)}"


def time_saved(effect: Effect) -> tuple[float, float, float] | None:
    """Per cent of the core's time: estimate and interval."""
    if effect.time_ratio is None:
        return None
    low, high = effect.time_interval or (effect.time_ratio, effect.time_ratio)
    return 100 * (1 - effect.time_ratio), 100 * (1 - high), 100 * (1 - low)


def net_tokens(entry: Entry, effect: Effect) -> str:
    """How many tokens more the core would have to see for the same loss in the same time."""
    if effect.net_gain is None:
        return "–"
    return count(entry.tokens * (exp(effect.net_gain) - 1), sign=True)


def per_cent(log_ratio: float) -> float:
    """A log-ratio as a change in per cent."""
    return 100 * (exp(log_ratio) - 1)


def unit_of(entry: Entry) -> str:
    """What the losses of an entry's track are measured in."""
    return TRACKS[entry.evaluation.track].unit


def lines(entry: Entry) -> str:
    return f"+{entry.evaluation.added} −{entry.evaluation.removed}"


def larger(row: Standing) -> str:
    """What became of the same patch at larger budgets."""
    outcomes = [f"{other.evaluation.budget} {other.state}" for other in row.larger]
    return "; ".join(dict.fromkeys(outcomes)) or "–"


def marks(entry: Entry, state: str) -> str:
    """The state with what qualifies it."""
    words = [state]
    if entry.evaluation.provisional or entry.evaluation.sandbox == "none":
        words.append("provisional")
    if not entry.evaluation.official:
        words.append("local")
    if not entry.evaluation.claimed:
        words.append("exploratory")
    return ", ".join(words)


def waiting(entries: Sequence[Entry]) -> pd.DataFrame:
    """What is being measured or waits for a person, oldest first."""
    import pandas as pd

    rows = [
        {
            "opened": entry.evaluation.opened[:10],
            "idea (by)": idea(entry),
            "budget": entry.evaluation.budget,
            "claim": entry.cell.metric,
            "pairs": progress(entry),
            "gain so far": gain(entry, entry.decided) if entry.decided else "–",
            "lines": lines(entry),
            "state": marks(entry, entry.state),
            "reason": escape(reason(entry), REASON_LIMIT) if entry.state == "review" else "",
        }
        for entry in entries
    ]
    return pd.DataFrame(rows)


def progress(entry: Entry) -> str:
    """How far an evaluation is."""
    confirm = entry.cell.confirm
    if confirm is not None:
        return f"confirming, {confirm.done} of {confirm.needed}"
    return f"{entry.cell.pairs} of at most {entry.cell.max_pairs}"


def tried(entries: Sequence[Entry]) -> pd.DataFrame:
    """What did not become a record and why, latest first."""
    import pandas as pd

    rows = [
        {
            "date": entry.date,
            "idea (by)": idea(entry),
            "budget": entry.evaluation.budget,
            "claim": entry.cell.metric,
            "gain [interval]": attempted(entry),
            "p": number(entry.cell.p),
            "pairs": str(entry.cell.pairs),
            "lines": lines(entry),
            "state": marks(entry, entry.state),
            "reason": escape(reason(entry), REASON_LIMIT),
        }
        for entry in reversed(entries)
    ]
    return pd.DataFrame(rows)


def attempted(entry: Entry) -> str:
    """No number is shown for a refused run: what it measured means nothing."""
    effect = entry.confirmed if entry.state == "revoked" else entry.decided
    return gain(entry, effect) if effect and entry.state not in ("refused", "invalidated") else "–"


def reason(entry: Entry) -> str:
    """Why a cell ended where it did, in one clause."""
    if entry.evaluation.invalidated is not None:
        return entry.evaluation.invalidated
    confirm = entry.cell.confirm
    if entry.state == "revoked" and confirm is not None:
        return "unstable on fresh seeds" if confirm.done < confirm.needed else "the gain was gone on fresh seeds"
    return entry.cell.reason


def noise(found: Sequence[Noise]) -> pd.DataFrame:
    """The noise at every budget, precision and host class."""
    import pandas as pd

    rows = [
        {
            "budget": one.budget,
            "precision": one.precision,
            "host class": escape(one.host_class),
            "s0 (df)": f"{number(one.s0)} ({one.df:g})",
            "s0 of time, % (df)": f"{number(None if one.s0_time is None else 100 * one.s0_time, 2)} ({one.df_time:g})",
            "run sd": number(one.run_sd),
            "rho": number(one.rho, 2),
            "same seed again, sd (n)": f"{number(one.repeat_sd, 5)} ({one.repeats})" if one.repeats else "–",
            "kappa": number(one.kappa, 3),
        }
        for one in found
    ]
    return pd.DataFrame(rows)


def published(rows: Sequence[PublishedRow]) -> pd.DataFrame:
    """Results of others, grouped as they were published."""
    import pandas as pd

    frame = pd.DataFrame(
        [
            {
                "track": row.track,
                "budget": row.budget,
                "change": escape(row.change),
                "loss": number(row.loss),
                "accuracy, %": number(row.accuracy, 2),
                "perplexity": number(row.perplexity, 2),
                "time": row.time,
                "state": "published, n = 1",
                "order": (row.track, BUDGETS[row.budget].tokens if row.budget in BUDGETS else 0),
            }
            for row in rows
        ]
    )
    return frame.sort_values("order", kind="stable").drop(columns="order")
