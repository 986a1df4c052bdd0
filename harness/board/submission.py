"""The page of one submission: what it changes and why, what was measured, and how it was decided."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.board import boxes, figures, highlight, report
from harness.board.columns import board_page
from harness.board.downloads import verbatim
from harness.board.figures import Figure
from harness.board.markdown import file_stem
from harness.board.page import page
from harness.board.samples import Sample, samples_of
from harness.decide.bank import Evaluation
from harness.decide.explain import explain
from harness.errors import SubmissionError, UsageError
from harness.records.store import sha256
from harness.rules import MAX_COMPRESSED_KIB, RULES
from harness.submission.files import decode, read_hostile
from harness.submission.manifest import Manifest, load_manifest
from harness.submission.root import find_folder

PATCH = "patch.diff"
LARGEST_PATCH = 16 * MAX_COMPRESSED_KIB * 1024  # bytes that are shown; `check` refuses it long before


@dataclass(frozen=True)
class Written:
    """What people wrote: the folder as it reads today, as far as it can be read."""

    manifest: Manifest | None
    patch: str | None
    patch_sha: str | None


@dataclass(frozen=True)
class Material:
    """Everything that a page is made from."""

    evaluations: tuple[Evaluation, ...]
    written: Written
    samples: tuple[Sample, ...]

    @property
    def slug(self) -> str:
        return self.evaluations[0][0].slug

    @property
    def stem(self) -> str:
        """Names of its files begin with this."""
        return file_stem(self.slug)

    def parts(self) -> Iterator[bytes]:
        """Its bytes, for a digest."""
        for record, runs in self.evaluations:
            yield record.model_dump_json().encode()
            yield from (run.model_dump_json().encode() for run in runs)
        yield repr(self.written).encode()
        for sample in self.samples:
            yield from (sample.place.encode(), sample.data)


def material(folder: Path, root: Path | None, evaluations: Sequence[Evaluation]) -> Material:
    """What there is on one submission; `folder` is that of the store, `root` the clone with submissions/."""
    slug = evaluations[0][0].slug
    cells = sorted({f"{record.track}-{record.budget}" for record, _ in evaluations})
    samples = samples_of(folder, slug, cells) if file_stem(slug) == slug else []
    return Material(tuple(evaluations), _written(root, slug), tuple(samples))


def _written(root: Path | None, slug: str) -> Written:
    try:
        folder = find_folder(root, slug) if root is not None else None
    except UsageError:
        folder = None
    if folder is None or folder.name != slug:
        return Written(None, None, None)
    manifest, patch, sha = None, None, None
    with contextlib.suppress(SubmissionError):
        manifest = load_manifest(folder)
    with contextlib.suppress(SubmissionError):
        content = read_hostile(folder, PATCH, "patch", LARGEST_PATCH)
        patch, sha = decode(content, PATCH, "patch"), sha256(content)
    return Written(manifest, patch, sha)


def files(found: Material, key: str) -> dict[str, str | bytes]:
    """Name -> content of everything that belongs to the page; the page, which carries the key, comes last."""
    made = report.compose(found.evaluations)
    groups = report.all_figures(made)
    rows = [section.entry for section in made.sections]
    forest = figures.forest(rows) if len(rows) > 1 else []
    drawn = [figure for group in (*groups, forest) for figure in group]
    stem = found.stem
    texts: dict[str, str | bytes] = {f"{stem}/{figure.name}.svg": figure.svg for figure in drawn}
    texts |= {f"{stem}/{sample.place}": sample.data for sample in found.samples}
    texts[f"{stem}.json"] = verbatim(found.evaluations)
    texts[f"{stem}.html"] = page("site/submission.html.j2", **_values(found, made, groups, forest), key=key)
    return texts


def _values(
    found: Material, made: report.Report, groups: Sequence[Sequence[Figure]], forest: Sequence[Figure]
) -> dict[str, object]:
    latest, written = made.latest, found.written
    links = {author.name: author.link for author in written.manifest.authors} if written.manifest else {}
    return {
        "up": "../",
        "stem": found.stem,
        "report": made,
        "evaluation": latest,
        "state": made.sections[0].entry.state,
        "authors": [(name, links.get(name)) for name in latest.authors],
        "manifest": written.manifest,
        "patch": highlight.patch_lines(written.patch) if written.patch else [],
        "measured": written.patch_sha == latest.patch_sha,
        "claims": [
            {
                "section": section,
                "board": board_page(section.entry.evaluation.track, section.entry.evaluation.budget),
                "sentence": explain(section.entry.cell),
                "figures": drawn,
                "box": boxes.box(section.entry, section.runs),
                "decide": boxes.pair_table(section.decide, section.entry.cell.looks),
                "confirm": boxes.pair_table(section.confirm),
                "rules": [name for name in RULES if re.search(rf"\b{name}\b", section.entry.cell.reason)],
            }
            for section, drawn in zip(made.sections, groups, strict=True)
        ],
        "forest": forest,
        "samples": found.samples,
        "earlier": boxes.earlier(made.earlier),
    }
