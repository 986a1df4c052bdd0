import csv
import json
import re
import shutil
import struct
import xml.etree.ElementTree as ET
import zlib
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag

import pytest
from board_factory import Factory

from harness.board import charts, columns, highlight, leaderboard, site, submission, tables
from harness.board.ladders import ladders, shelves
from harness.board.page import is_web
from harness.board.samples import samples_of
from harness.records.store import Store, sha256
from harness.rules import RULES
from harness.submission.diff import parse_diff
from harness.submission.patch import core_digest
from harness.tracks import TRACKS

REPOSITORY = Path(__file__).parent.parent.parent
GOOD, FRESH = (0.031, 0.027), (0.03, 0.021, 0.02, 0.025)
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
PATCH = """\
diff --git a/model_core/lm.py b/model_core/lm.py
--- a/model_core/lm.py
+++ b/model_core/lm.py
@@ -10,3 +10,4 @@ def forward(self):
     x = self.embedding(ids)
-    x = x * 2
+    x = x * 2.5  # </code><script>alert(1)</script>
+    name = "a\u202eb"
     return x
"""
MANIFEST = """\
title = "Gate"
idea = '''
A gate </p><script>alert(1)</script> on every head.

And a second paragraph.
'''
authors = [{{ name = "Ada", link = "https://example.org/ada?a=1&b=2" }}]
references = ["javascript:alert(1)", "https://example.org/paper", "a book"]
base = "{base}"
[[claims]]
track = "llm-tiny"
budget = "smoke"
metric = "loss"
"""


def png(side=8):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(side) for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@dataclass
class Built:
    """A clone with a store, and its site."""

    root: Path
    factory: Factory

    @property
    def folder(self):
        return self.factory.store.folder / "site"

    def write(self):
        return site.write(self.factory.store, self.root)

    def text(self, name):
        return (self.folder / name).read_text()

    @property
    def pages(self):
        return sorted(self.folder.rglob("*.html"))

    def times(self):
        return {path: path.stat().st_mtime_ns for path in self.folder.rglob("*") if path.is_file()}


def clone(root):
    """An empty clone; the cores of its tracks are digests of empty files."""
    (root / "model_core").mkdir(parents=True)
    for name in TRACKS["llm-tiny"].core_files:
        (root / "model_core" / name).write_text("")
    (root / "submissions").mkdir()
    core_id = core_digest(root / "model_core", TRACKS["llm-tiny"].core_files)
    return Built(root, Factory(Store(root / "leaderboard"), defaults={"core_id": core_id}))


def submit(built, slug, patch=PATCH):
    folder = built.root / "submissions" / slug
    folder.mkdir(exist_ok=True)
    (folder / "submission.toml").write_text(MANIFEST.format(base="ab" * 32))
    (folder / "patch.diff").write_text(patch)
    return sha256((folder / "patch.diff").read_bytes())


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Three submissions of one claim each, not yet rendered; without figures, which take most of the time."""
    monkeypatch.setattr(submission.report, "all_figures", lambda made: [[] for _ in made.sections])
    built = clone(tmp_path)
    for slug in ("one", "two", "three"):
        built.factory.evaluation(slug, (-0.03, -0.03), patch_sha=submit(built, slug))
    return built


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A site with something of everything, and a stranger's worst."""
    made = clone(tmp_path_factory.mktemp("clone"))
    factory, sha = made.factory, submit(made, "gate")
    factory.calibration()
    factory.evaluation("gate", GOOD, FRESH, faster=0.02, patch_sha=sha, sandbox="bubblewrap", provisional=False)
    factory.evaluation("gate", (-0.03, -0.03), patch_sha=sha, budget="1M")
    factory.evaluation("small", (0.012, 0.007, 0.014, 0.009), (0.011, 0.009, 0.012, 0.008), faster=-0.03)
    factory.evaluation("old", GOOD, FRESH, core_id="ab" * 32, opened="2025-01-01T00:00:00Z")
    factory.evaluation("quick", (0.032, 0.031, 0.03), FRESH, metrics=("loss", "speed"), k=2, faster=0.05)
    factory.evaluation("dear", GOOD, faster=-0.3)
    factory.evaluation("under-way", (0.01, 0.012), close=False)
    factory.evaluation("leaky", (0.3, 0.3), status="refused")
    factory.evaluation("<b>evil", GOOD, FRESH, title=EVIL, authors=(EVIL, "=1+1"), invalidated=EVIL)
    for arm in ("gate", "core"):
        folder = factory.store.folder / "samples" / "llm-tiny-smoke" / arm
        folder.mkdir(parents=True)
        (folder / "class_grid.png").write_bytes(png())
    made.write()
    return made


class Page(HTMLParser):
    """A page as a browser would take it apart; raises on a tag that is closed but not open."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.loads, self.ids, self.images = [], [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        assert not [name for name in found if name.startswith("on") or name == "style"], f"<{tag} {found}>"
        self.links += [found["href"]] if tag == "a" else []
        self.loads += [found[name] for name in ("src", "href") if name in found and tag != "a"]
        self.ids += [found["id"]] if "id" in found else []
        self.images += [found] if tag == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open[-3:]}"
        self.open.pop()


def parsed(built):
    return {path: Page(path.read_text()) for path in built.pages}


def test_there_is_a_page_for_every_board_and_submission(built):
    names = {path.relative_to(built.folder).as_posix() for path in built.pages}
    stems = [path.stem for path in (built.folder / "submissions").glob("*.json")]
    assert len(stems) == 8 and all(re.fullmatch(r"[a-z0-9-]+", stem) for stem in stems)
    boards = {"board/llm-tiny-smoke.html", "board/llm-tiny-1M.html"}
    own = {f"submissions/{stem}.html" for stem in stems}
    assert names == {"index.html", "noise.html", "rules.html", "data.html"} | boards | own


def test_every_page_is_balanced_and_says_where_its_content_begins(built):
    for path, page in parsed(built).items():
        assert page.open == [] and len(page.ids) == len(set(page.ids)), path
        assert page.tags.count("h1") == page.tags.count("main") == 1 and "main" in page.ids, path
        assert '<html lang="en">' in path.read_text()


def test_nothing_is_loaded_from_elsewhere(built):
    for path, page in parsed(built).items():
        for load in page.loads:
            assert re.fullmatch(r"[\w./-]+", load) and (path.parent / load).is_file(), f"{path}: {load}"
        assert page.tags.count("script") == 1, path
        assert "default-src 'none'" in path.read_text()
    assert not re.search(r"url\(|@import|https?:", built.text("style.css") + built.text("sort.js"))
    for figure in built.folder.rglob("*.svg"):
        assert not re.search(r'href="(?!#)|url\((?!#)|<script', figure.read_text()), figure


def test_every_link_inside_leads_somewhere(built):
    pages = parsed(built)
    outside = set()
    for path, page in pages.items():
        for link in page.links:
            if link.startswith("http"):
                outside.add(link)
                continue
            name, fragment = urldefrag(link)
            target = (path.parent / name).resolve() if name else path
            assert target.is_file(), f"{path}: {link}"
            assert not fragment or fragment in pages[target].ids, f"{path}: {link}"
    assert outside == {"https://example.org/ada?a=1&b=2", "https://example.org/paper"}


def test_what_strangers_wrote_stays_words(built):
    for path, page in parsed(built).items():
        text = path.read_text()
        assert "<script>" not in text and "<img src=x" not in text and "javascript:alert(1)</a>" not in text, path
        assert "\u202e" not in text and not [link for link in page.links if link.startswith("javascript")], path
        assert "alert(1)&gt;49" not in text, path
    assert "[U+202E]" in built.text("submissions/gate.html")
    assert "{{ 7 * 7 }}" in built.text("board/llm-tiny-smoke.html")


@pytest.mark.parametrize(
    "link", [None, "", "javascript:alert(1)", "data:text/html,x", "//evil", "http://a b", 'https://a"b', " https://a"]
)
def test_only_addresses_of_the_web_become_links(link):
    assert not is_web(link) and is_web("https://example.org/a?b=c#d")


def test_pictures_have_words_and_a_size(built):
    images = [image for page in parsed(built).values() for image in page.images]
    assert len(images) > 20
    assert all(image["alt"] and int(image["width"]) > 0 and int(image["height"]) > 0 for image in images)


def test_the_page_of_a_submission_has_everything_that_the_verdict_rests_on(built):
    text = built.text("submissions/gate.html")
    for part in ("CONFIRMED", "on every head.", "And a second paragraph.", "sequential p", "confirm round", "Samples"):
        assert part in text
    assert re.findall(r'src="gate/llm-tiny-smoke-loss-(\w+)\.svg"', text) == ["trace", "seeds", "difference", "time"]
    assert 'src="gate/samples/llm-tiny-smoke/core-class_grid.png"' in text
    assert 'href="https://example.org/ada?a=1&amp;b=2"' in text


def test_a_patch_that_was_not_measured_says_so(small):
    submit(small, "two", PATCH.replace("2.5", "3.5"))
    small.write()
    assert "is another one" in small.text("submissions/two.html")
    assert "is another one" not in small.text("submissions/one.html")


def test_a_submission_whose_folder_is_gone_keeps_its_page(small):
    shutil.rmtree(small.root / "submissions" / "one")
    small.write()
    assert "not in this clone" in small.text("submissions/one.html")


def test_an_unchanged_site_is_left_alone(small):
    assert small.write().drawn == 3
    before = small.times()
    assert small.write().drawn == 0
    assert small.times() == before


def changed_run(built):
    path = next((built.factory.store.folder / "runs").glob("*-two/decide-01-*-two-a1.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"loss": 4.5}))


def changed_patch(built):
    submit(built, "two", PATCH.replace("2.5", "3.5"))


def new_evaluation(built):
    built.factory.evaluation("two", (0.0, 0.001, -0.001), patch_sha="cd" * 32)


@pytest.mark.parametrize("change", [changed_run, changed_patch, new_evaluation])
def test_one_changed_submission_draws_one_page(small, change):
    small.write()
    before = small.times()
    change(small)
    assert small.write().drawn == 1
    touched = {path for path, time in small.times().items() if before.get(path) != time}
    assert small.folder / "submissions" / "two.html" in touched
    assert not [path for path in touched if path.parts[-1].startswith(("one", "three"))]


def test_another_program_draws_every_page_again(small, monkeypatch):
    small.write()
    monkeypatch.setattr(site, "_program", lambda: b"a later harness")
    assert small.write().drawn == 3


def test_pages_of_what_is_gone_are_taken_away(small):
    small.write()
    (record,) = (one for one in small.factory.store.evaluations() if one.slug == "two")
    small.factory.store.evaluation_path(record.id).unlink()
    (small.folder / "board" / "llm-tiny-8M.html").write_text("of a budget that has no claim any more")
    small.write()
    assert not list(small.folder.rglob("two*")) and not list(small.folder.rglob("*8M*"))
    assert (small.folder / "submissions" / "one.html").exists()


def test_several_processes_draw_the_same_bytes(tmp_path, monkeypatch):
    made = clone(tmp_path)
    for slug in ("one", "two"):
        made.factory.evaluation(slug, (-0.03, -0.03))
    made.write()
    alone = {path: path.read_bytes() for path in made.times()}
    shutil.rmtree(made.folder)
    monkeypatch.setattr(site, "FEW", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    made.write()
    assert {path: path.read_bytes() for path in made.times()} == alone


def run_files(built):
    return {
        (path.parent.name, path.stem): json.loads(path.read_text())
        for path in (built.factory.store.folder / "runs").rglob("*.json")
    }


def test_the_tables_hold_every_run_as_its_file_has_it(built):
    files = run_files(built)
    rows = json.loads(built.text("data/runs.json"))
    assert len(rows) == len(files) > 60
    with open(built.folder / "data" / "runs.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for row, line in zip(rows, lines, strict=True):
        spec = {name.removeprefix("spec_"): value for name, value in row.items() if name.startswith("spec_")}
        (run,) = (run for run in files.values() if run["evaluation"] == row["evaluation"] and run["spec"] == spec)
        assert [row[name] for name in ("loss", "status", "train_seconds", "error")] == [
            run[name] for name in ("loss", "status", "train_seconds", "error")
        ]
        assert row["model_parameters"] == run["model"]["parameters"] and row["host_cpu"] == run["host"]["cpu"]
        assert line["spec_seed"] == str(spec["seed"]) and (line["loss"] or None) == (run["loss"] and repr(run["loss"]))


def test_the_file_of_a_submission_holds_its_run_files_word_for_word(built):
    files = run_files(built)
    whole = json.loads(built.text("submissions/gate.json")) + json.loads(built.text("data/calibrations.json"))
    assert len(whole) == 3
    for part in whole:
        runs = [run for (evaluation, _), run in sorted(files.items()) if evaluation == part["evaluation"]["id"]]
        assert part["runs"] == runs
        stored = built.factory.store.evaluation_path(part["evaluation"]["id"])
        assert part["evaluation"] == json.loads(stored.read_text())


def test_claims_are_the_same_in_json_and_csv_and_run_nothing_in_a_spreadsheet(built):
    rows = json.loads(built.text("data/claims.json"))
    with open(built.folder / "data" / "claims.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(rows) == len(lines) == 10
    for row, line in zip(rows, lines, strict=True):
        assert list(row) == list(line)
        assert (line["confirm_gain"] or None) == (row["confirm_gain"] and repr(row["confirm_gain"]))
        assert line["state"] == row["state"] and line["pairs"] == str(row["pairs"])
    evil = clone(built.root.parent / "formula")
    evil.factory.evaluation("sum", (-0.03, -0.03), title="=HYPERLINK(1)")
    evil.write()
    assert "'=HYPERLINK(1)" in evil.text("data/claims.csv") and '"=HYPERLINK(1)"' in evil.text("data/claims.json")


def test_a_ladder_has_the_ranks_and_numbers_of_the_committed_board(built):
    (part,) = leaderboard.collect(built.factory.store, built.root).tracks
    made = ladders(shelves(part.entries, part.core_id).records, part.entries, part.core_id)
    assert [ladder.metric for ladder in made] == ["loss", "speed"]
    for ladder, committed in zip(made, tables.ladders(made), strict=True):
        shown = columns.ladder(ladder, "").rows
        assert [row[0].text for row in shown] == list(committed.frame["#"])
        assert [f"{row[2].text} {row[2].note}" for row in shown] == list(committed.frame["gain [interval]"])
        assert [row[5].text for row in shown] == list(committed.frame["net tokens"])


def test_every_rule_has_a_place_and_a_refused_page_leads_to_its_own(built):
    page = Page(built.text("rules.html"))
    assert set(RULES) <= set(page.ids)
    assert 'href="../rules.html#audit-causality"' not in built.text("submissions/gate.html")


def test_the_noise_page_says_how_much_error_has_been_spent(built):
    (part,) = leaderboard.collect(built.factory.store, built.root).tracks
    decided, error = leaderboard.spent(part.entries)
    assert f"{decided} of 10 claims have been decided, at error rates that sum to <strong>{error:.2f}" in " ".join(
        built.text("noise.html").split()
    )


def entries(factory):
    (part,) = leaderboard.collect(factory.store).tracks
    return part


def test_the_frontier_joins_only_what_no_other_record_beats(factory):
    factory.evaluation("best", (0.04, 0.041), (0.04, 0.04, 0.04, 0.041), faster=-0.05)
    factory.evaluation("beaten", GOOD, FRESH, faster=-0.06)
    factory.evaluation("fast", (0.02, 0.021, 0.02), (0.02, 0.02, 0.02, 0.021), faster=0.1)
    part = entries(factory)
    chart = charts.frontier(part.entries, 0.3)
    assert {entry.state for entry in part.entries} == {"confirmed"}
    place = {point.title: (point.x, point.y) for point in chart.points}
    path = chart.lines[0][1]
    assert (
        f"M{place['fast'][0]} {charts.TOP}V{place['fast'][1]}H" in path
        and f"H{place['best'][0]}V{place['best'][1]}" in path
    )
    assert str(place["beaten"][0]) not in path
    assert place["fast"][0] < chart.core[0] < place["best"][0] and place["best"][1] > chart.core[1]


def test_the_exchange_rate_runs_through_the_core_and_divides_net_gain_from_net_loss(factory):
    factory.evaluation("worth-it", (0.04, 0.041), (0.04, 0.04, 0.04, 0.041), faster=-0.05)
    factory.evaluation("too-dear", (0.04, 0.041), (0.04, 0.04, 0.04, 0.041), faster=-0.3)
    part = entries(factory)
    chart = charts.frontier(part.entries, 0.3)
    curve = [tuple(map(float, point.split())) for point in chart.curve[1:].split("L")]

    def below(x, y):
        return y > min(curve, key=lambda point: abs(point[0] - x))[1]

    assert min(abs(x - chart.core[0]) + abs(y - chart.core[1]) for x, y in curve) < 12
    for entry, point in zip(part.entries, sorted(chart.points, key=lambda point: point.x), strict=True):
        assert below(point.x, point.y) == (entry.published.net_gain > 0)


def test_an_outlier_does_not_flatten_the_frontier_and_is_counted(factory):
    for number in range(6):
        factory.evaluation(f"idea-{number}", (-0.003 * number, -0.0031 * number, -0.003))
    factory.evaluation("terrible", (-2.0, -2.0))
    chart = charts.frontier(entries(factory).entries, None)
    assert "terrible" not in {point.title for point in chart.points} and chart.caption.endswith(
        "Outside of the drawing: 1."
    )


def test_the_record_begins_again_where_the_core_has_moved(factory):
    for day, (slug, core, gains) in enumerate(
        [("a", "aa", GOOD), ("b", "aa", (0.06, 0.061)), ("c", "cc", GOOD), ("d", "cc", (0.012, 0.01, 0.011, 0.012))], 1
    ):
        moment = f"2026-03-{day:02d}T00:00:00Z"
        factory.evaluation(slug, gains, (*gains, *gains)[:4], core_id=core * 32, opened=moment, closed=moment)
    part = entries(factory)
    (ladder,) = ladders(shelves(part.entries, part.core_id).records, part.entries, part.core_id)
    chart = charts.history(ladder)
    x = {point.title: point.x for point in chart.points}
    (first, early), (second, today) = chart.lines
    assert (first, second) == ("aa" * 32, "cc" * 32)
    assert early.startswith(f"M{x['a']} ") and f"H{x['b']}V" in early and early.endswith(f"H{x['c']}")
    assert today.startswith(f"M{x['c']} ") and "V" not in today
    assert [label for _, label in chart.x.ticks] == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("submissions/*/patch.diff")), ids=lambda path: path.parent.name)
def test_a_coloured_patch_is_the_patch_with_its_line_numbers(path):
    text = path.read_text()
    lines = highlight.patch_lines(text)
    marks = {"added": "+", "removed": "-", "context": " "}
    assert [marks.get(line.kind, "") + "".join(part for _, part in line.parts) for line in lines] == text.splitlines()
    for change in parse_diff(text).changes:
        for hunk in change.hunks:
            new = [line.new for line in lines if line.new is not None]
            assert set(range(hunk.new_at + 1, hunk.new_at + len(hunk.new) + 1)) <= set(new)
            old = [line.old for line in lines if line.old is not None]
            assert set(range(hunk.old_at + 1, hunk.old_at + len(hunk.old) + 1)) <= set(old)


def test_python_in_a_patch_is_coloured():
    added = next(line for line in highlight.patch_lines(PATCH) if line.kind == "added")
    assert ("number", "2.5") in added.parts and added.parts[-1][0] == "comment"


@pytest.mark.parametrize(
    "text", ["", "\n", "no patch", "@@ -1 +1 @@", "@@ -1 +1 @@\n+'''\n-\"\"\"\n\\ No newline", "+\r\n" * 3]
)
def test_a_broken_patch_is_shown_line_by_line(text):
    shown = highlight.patch_lines(text)
    assert len(shown) == max(1, text.removesuffix("\n").count("\n") + 1)


def test_only_small_plain_pictures_are_samples(tmp_path):
    folder = tmp_path / "samples" / "flow-tiny-1M" / "idea"
    folder.mkdir(parents=True)
    (folder / "generated.png").write_bytes(png())
    (folder / "page.png").write_text("<script>alert(1)</script>")
    (folder / "huge.png").write_bytes(png() + bytes(2 << 20))
    (folder / "a b.png").write_bytes(png())
    (folder / "link.png").symlink_to(folder / "generated.png")
    assert [(one.name, one.width) for one in samples_of(tmp_path, "idea", ["flow-tiny-1M"])] == [("generated.png", 8)]


def test_figures_are_drawings(built):
    for figure in built.folder.rglob("*.svg"):
        assert ET.fromstring(figure.read_text()).tag.endswith("svg")


def test_a_page_is_found_by_the_digest_of_its_input(small):
    small.write()
    own = [item for item in leaderboard.read(small.factory.store) if item[0].slug == "one"]
    found = submission.material(small.factory.store.folder, small.root, own)
    key = site._digest([site._program(), *found.parts()])
    assert f'<meta name="input" content="{key}">' in small.text("submissions/one.html")[:400]
