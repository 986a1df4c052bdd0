"""The numbers behind the site as JSON and CSV, so that nobody has to read them off a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from harness.board.entries import Effect, Entry
from harness.board.leaderboard import Board
from harness.board.published import PUBLISHED
from harness.board.tables import reason
from harness.decide.bank import Evaluation
from harness.records.record import EvaluationRecord, Host, Metrics, ModelFacts, RunRecord, RunSpec
from harness.rules import RULES

Row = dict[str, Any]
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets run a text that begins with one of these
LEFT_OUT = {"schema_", "salt", "salt_sha256", "runs", "metrics"}  # of an evaluation: its own file has them
# Of a run file: what its columns begin with, and which there are.
PARTS: dict[str, type[BaseModel]] = {"spec": RunSpec, "metrics": Metrics, "model": ModelFacts, "host": Host}


@dataclass(frozen=True)
class Download:
    """One table, offered as JSON and as CSV."""

    name: str
    about: str
    rows: tuple[Row, ...]

    @property
    def json(self) -> str:
        """A list of objects, one row a line."""
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in self.rows)
        return f"[\n{lines}\n]\n"

    @property
    def csv(self) -> str:
        """The same with a head; lists as JSON, nothing where there is nothing."""
        import pandas as pd

        frame = pd.DataFrame([{name: _flat(value) for name, value in row.items()} for row in self.rows], dtype=object)
        return str(frame.to_csv(index=False, lineterminator="\n"))


def _flat(value: object) -> object:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, tuple, dict)) else value


def downloads(board: Board, evaluations: Sequence[Evaluation]) -> list[Download]:
    """Everything that the pages show, and every run."""
    claims = [_claim(entry) for part in board.tracks for entry in part.entries]
    noise = [{"track": part.track.name, **asdict(one)} for part in board.tracks for one in part.noise]
    runs = [_run(run) for _, own in evaluations for run in own]
    return [
        Download("claims", "one row for every claim that was judged", tuple(claims)),
        Download("runs", "one row for every run that was started; curves are with the submissions", tuple(runs)),
        Download("noise", "what runs scatter, by budget, precision and host class", tuple(noise)),
        Download("published", "results of others, never measured again here", tuple(map(asdict, PUBLISHED))),
        Download("rules", "what is refused, why, and how to mend it", tuple(map(asdict, RULES.values()))),
    ]


def _claim(entry: Entry) -> Row:
    evaluation = entry.evaluation.model_dump(mode="json", by_alias=True, exclude=LEFT_OUT)
    cell = entry.cell
    judged = {
        "metric": cell.metric,
        "state": entry.state,
        "verdict": cell.verdict,
        "reason": reason(entry),
        "pairs": cell.pairs,
        "p": cell.p,
        "rho": cell.rho,
        "host_class": entry.host_class,
        "precision": entry.precision,
    }
    return evaluation | judged | _effect("decide", entry.decided) | _effect("confirm", entry.confirmed)


def _effect(name: str, effect: Effect | None) -> Row:
    fields = Effect.__dataclass_fields__
    return {f"{name}_{field}": None if effect is None else getattr(effect, field) for field in fields}


def _run(run: RunRecord) -> Row:
    """The run file without its curve, its parts side by side."""
    said = run.model_dump(mode="json", by_alias=True, exclude={"curve"})
    whole = {name: value for name, value in said.items() if name not in PARTS}
    return whole | {f"{part}_{name}": value for part, name, value in _parts(said)}


def _parts(said: Row) -> Iterator[tuple[str, str, object]]:
    for part, kind in PARTS.items():
        fields = said[part] or dict.fromkeys(kind.model_fields)  # a run that never started has no model
        yield from ((part, name, value) for name, value in fields.items())


def verbatim(evaluations: Sequence[Evaluation]) -> str:
    """Evaluation and run files as they are, curves included."""
    return json.dumps([_files(*item) for item in evaluations], ensure_ascii=False, allow_nan=False) + "\n"


def _files(record: EvaluationRecord, runs: Sequence[RunRecord]) -> dict[str, object]:
    dumped = [run.model_dump(mode="json", by_alias=True) for run in runs]
    return {"evaluation": record.model_dump(mode="json", by_alias=True), "runs": dumped}
