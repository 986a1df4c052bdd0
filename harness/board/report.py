"""The report of one submission: one sentence, one figure, then everything that the verdict rests on.

`leaderboard/reports/<slug>.md` and its figure are committed for official evaluations; `blueberry report SLUG` also
makes a page with every figure. Both are made from the evaluation and run files alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.board import boxes, details, figures, plots, tables
from harness.board.entries import Entry, entries_of, read
from harness.board.figures import Figure
from harness.board.markdown import file_stem
from harness.board.page import page
from harness.decide.bank import Evaluation
from harness.decide.cells import TOP_ORDER, overall_verdict
from harness.decide.explain import explain
from harness.decide.pairs import Pair, pairs_of
from harness.errors import UsageError
from harness.records.atomic import write_atomically
from harness.records.record import EvaluationRecord, RunRecord
from harness.records.store import Store

_TONES = {"CONFIRMED": "good", "ACCEPT_LOSS": "good", "ACCEPT_SPEED": "good"} | dict.fromkeys(
    ("REJECT_WORSE", "REVOKED", "INVALID"), "bad"
)


@dataclass(frozen=True)
class Section:
    """One claim of the submission, with the runs that decide it."""

    entry: Entry
    runs: tuple[RunRecord, ...]
    decide: tuple[Pair, ...]
    confirm: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """How headings and file names call this claim."""
        return f"{self.entry.evaluation.track}-{self.entry.evaluation.budget}-{self.entry.cell.metric}"


@dataclass(frozen=True)
class Report:
    """A submission as its latest patch stands: the claim that gave the verdict comes first."""

    verdict: str
    sections: tuple[Section, ...]
    earlier: tuple[Entry, ...]  # evaluations of earlier patches, and older ones of the same claim

    @property
    def latest(self) -> EvaluationRecord:
        return self.sections[0].entry.evaluation

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        first = self.sections[0].entry
        said = explain(first.cell)
        if first.evaluation.parents:
            said += f"; both arms carry {', '.join(first.evaluation.parents)}"
        if len(self.sections) == 1:
            return said
        return f"{first.evaluation.track} at {first.evaluation.budget}, {first.cell.metric}: {said}"


def collect(store: Store, slug: str) -> Report:
    """The report of a submission; raises UsageError where the store has no evaluation of it."""
    own = [record for record in store.evaluations() if record.slug == slug and record.kind == "submission"]
    if not own:
        fix = f"`blueberry run {slug[:64]}` makes one"
        raise UsageError(f"report {slug[:64]}", f"no evaluation of it in {store.folder}", fix)
    return compose([(record, tuple(store.runs(record.id))) for record in own])


def compose(evaluations: Sequence[Evaluation]) -> Report:
    """The report from all evaluations of one submission, oldest first; at least one."""
    patch_sha = evaluations[-1][0].patch_sha
    latest: dict[tuple[str, str, str], Section] = {}
    sections = [section for record, runs in evaluations for section in _sections(record, runs)]
    for section in sections:
        if section.entry.evaluation.patch_sha == patch_sha:
            latest[section.entry.evaluation.track, section.entry.evaluation.budget, section.entry.cell.metric] = section
    ordered = sorted(latest.values(), key=_prominence)
    earlier = [section.entry for section in sections if section not in ordered]
    verdict = overall_verdict(section.entry.cell for section in ordered)
    return Report(verdict, tuple(ordered), tuple(earlier))


def _sections(record: EvaluationRecord, runs: tuple[RunRecord, ...]) -> Iterable[Section]:
    decide, confirm = pairs_of(runs, "decide"), pairs_of(runs, "confirm")
    return (Section(entry, runs, decide, confirm) for entry in entries_of(record, runs))


def _prominence(section: Section) -> tuple[bool, int, int]:
    """Claims before explorations, then the order of verdicts, then the larger budget."""
    entry = section.entry
    return not entry.evaluation.claimed, TOP_ORDER.index(entry.cell.verdict), -entry.tokens


def all_figures(report: Report) -> list[list[Figure]]:
    """Everything that can be drawn of each claim; claims that share their runs show those once."""
    shown, seen = [], set()
    for section in report.sections:
        group = figures.traces(section.entry, f"{section.name}-trace")
        if section.entry.evaluation.id not in seen:
            unit = tables.unit_of(section.entry)
            group += figures.slopes(section.decide, section.confirm, unit, f"{section.name}-seeds")
            group += figures.curves(section.decide, section.name)
        seen.add(section.entry.evaluation.id)
        shown.append(group)
    return shown


def markdown(report: Report, shown: Sequence[Sequence[Figure]], folder: str) -> str:
    """The report as Markdown; `shown` holds the figures of each section, `folder` is where the files lie."""
    return page("report.md.j2", **_values(report, shown), folder=folder)


def html(report: Report, shown: Sequence[Sequence[Figure]]) -> str:
    """The report as one HTML file that needs no other."""
    return page("report.html.j2", **_values(report, shown), inline=plots.inline, tone=_TONES.get(report.verdict, ""))


def _values(report: Report, shown: Sequence[Sequence[Figure]]) -> dict[str, object]:
    return {
        "report": report,
        "evaluation": report.latest,
        "parts": [
            {
                "section": section,
                "sentence": explain(section.entry.cell),
                "figures": drawn,
                "box": boxes.box(section.entry, section.runs),
                "decide": boxes.pair_table(section.decide, section.entry.cell.looks),
                "confirm": boxes.pair_table(section.confirm),
                "details": details.table(section.confirm or section.decide),
            }
            for section, drawn in zip(report.sections, shown, strict=True)
        ],
        "forest": figures.forest([section.entry for section in report.sections]),
        "earlier": boxes.earlier(report.earlier),
    }


def write(store: Store, slug: str, folder: Path) -> list[Path]:
    """The whole report into `folder`: report.md, report.html and figures/*.svg; raises UsageError."""
    report = collect(store, slug)
    shown = all_figures(report)
    drawn = [figure for group in shown for figure in group] + figures.forest([s.entry for s in report.sections])
    texts = {f"figures/{figure.name}.svg": figure.svg for figure in drawn}
    texts |= {"report.md": markdown(report, shown, "figures/"), "report.html": html(report, shown)}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in sorted(texts)]


def refresh(store: Store) -> list[Path]:
    """Bring the committed reports up to date; returns the files that were not. A new figure takes about 0.1 s."""
    texts = stale(store.folder / "reports", read(store))
    for path, text in texts.items():
        write_atomically(path, text())
    return sorted(texts)


def stale(folder: Path, evaluations: Sequence[Evaluation]) -> dict[Path, Callable[[], str]]:
    """The committed reports that are missing or out of date, each file with what makes its right text.

    A report is committed for every submission with an official evaluation.
    """
    groups: dict[str, list[Evaluation]] = {}
    for item in evaluations:
        if item[0].kind == "submission" and item[0].official:
            groups.setdefault(file_stem(item[0].slug), []).append(item)
    texts: dict[Path, Callable[[], str]] = {}
    for stem, own in groups.items():
        texts |= _stale_report(folder, stem, compose(own))
    return texts


def _stale_report(folder: Path, stem: str, report: Report) -> dict[Path, Callable[[], str]]:
    drawn = figures.traces(report.sections[0].entry, stem)
    shown = [drawn, *([] for _ in report.sections[1:])]
    path = folder / f"{stem}.md"
    text = page("report.md.j2", **_values(report, shown) | {"forest": []}, folder="")
    texts = figures.outdated(folder, drawn)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        texts[path] = lambda: text
    return texts
