import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from harness.board import report
from harness.decide.explain import explain
from harness.errors import UsageError

GOOD = (0.012, 0.007, 0.014, 0.009)
FRESH = (0.011, 0.009, 0.012, 0.008)


class Balanced(HTMLParser):
    """Raises on a tag that is closed but not open."""

    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.outside = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open[-3:]}"
        self.open.pop()


def written(factory, tmp_path, slug="idea"):
    paths = report.write(factory.store, slug, tmp_path / "out")
    return {path.relative_to(tmp_path / "out").as_posix(): path.read_text() for path in paths}


def test_a_report_opens_with_one_sentence_and_one_figure(factory, tmp_path):
    factory.evaluation("idea", GOOD, FRESH)
    text = written(factory, tmp_path)["report.md"]
    cell = report.collect(factory.store, "idea").sections[0].entry.cell
    blocks = text.split("\n\n")
    assert blocks[1].startswith("**CONFIRMED.** accepted: gain 0.0105 nats")
    assert blocks[1].count(". ") <= 2 and explain(cell).split(",")[0] in blocks[1]
    assert blocks[2].startswith("![Decision trace")


def test_dead_parameters_of_the_submission_are_named_and_those_of_the_core_are_not(factory, tmp_path):
    put = factory.store.put_run
    unmoved = {"idea": 0.125, "another": 0.0, "core": 0.5}

    def write(run):
        put(run.model_copy(update={"model": run.model.model_copy(update={"unmoved": unmoved[run.spec.arm]})}))

    factory.write = write
    factory.evaluation("idea", GOOD, FRESH)
    text = written(factory, tmp_path)["report.md"]
    assert "training left 12.5 % of its weight tensors as they were" in text and text.count("dead parameters") == 1
    factory.evaluation("another", GOOD, FRESH)
    assert "dead parameters" not in written(factory, tmp_path, "another")["report.md"]


def test_a_report_names_every_figure_that_it_writes_and_no_other(factory, tmp_path):
    factory.evaluation("idea", GOOD, FRESH, metrics=("loss", "speed"), k=2)
    files = written(factory, tmp_path)
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", files["report.md"]))
    assert linked == {name for name in files if name.endswith(".svg")}
    assert len(linked) == 6
    for name in linked:
        ET.fromstring(files[name])


def test_the_box_holds_what_the_verdict_rests_on(factory, tmp_path):
    factory.evaluation("idea", GOOD, FRESH, faster=-0.02)
    text = written(factory, tmp_path)["report.md"]
    for fact in (
        "gain +0.0105 [0.0007, 0.0203] nats",
        "time × 1.020",
        "0.0143 against alpha 0.02",
        "4 of at most 10",
        "| rho between the arms | 0.9",
        "s0 0.0064 nats (d0 4)",
        "0.300 nats per unit",
        "16 runs, 2 min 42 s",
        "+6 −1 lines",
        "c0c0c0c0c0c0",
        "Test CPU, 2 threads, torch 2.13.0, fp32, sandbox none",
        "provisional",
    ):
        assert fact in text


def test_the_html_is_one_balanced_file_that_needs_no_other(factory, tmp_path):
    factory.evaluation("idea", GOOD, FRESH)
    page = written(factory, tmp_path)["report.html"]
    parser = Balanced()
    parser.feed(page)
    assert parser.open == [] and parser.outside == []
    assert parser.tags.count("svg") == 5 and "script" not in parser.tags
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("evil", ["</style><script>x</script>", "@everyone | `a`", "\x1b[31m", "x" * 70_000, "$x_1$"])
def test_hostile_strings_stay_words_in_both_forms(factory, tmp_path, evil):
    record = factory.evaluation("idea", (0.3, 0.3), status="refused", title=evil, authors=(evil,))
    runs = factory.store.folder / "runs" / record.id
    for path in runs.glob("*idea*"):
        run = path.read_text().replace("the audit disagrees", evil.encode("unicode_escape").decode())
        path.write_text(run if "\\x1b" not in run else run.replace("\\x1b", "\\u001b"))
    files = written(factory, tmp_path)
    parser = Balanced()
    parser.feed(files["report.html"])
    assert "script" not in parser.tags and parser.open == []
    assert "\x1b" not in "".join(files.values())
    assert "@everyone" not in files["report.md"] and "<script>" not in files["report.md"]
    assert len(files["report.md"]) < 20_000


def test_a_refused_submission_has_a_report_without_its_numbers(factory, tmp_path):
    factory.evaluation("idea", (0.3, 0.3), status="refused")
    text = written(factory, tmp_path)["report.md"]
    assert text.split("\n\n")[1].startswith("**INVALID.** invalid: refused in the decide round")
    assert "gain +" not in text


def test_an_older_patch_moves_to_the_earlier_evaluations(factory, tmp_path):
    factory.evaluation("idea", (-0.03, -0.03), budget="1M")
    factory.evaluation("idea", GOOD, FRESH)
    made = report.collect(factory.store, "idea")
    assert [section.entry.state for section in made.sections] == ["confirmed"]
    assert [entry.state for entry in made.earlier] == ["rejected"]
    assert "## Earlier evaluations" in written(factory, tmp_path)["report.md"]


def test_the_claim_that_gave_the_verdict_comes_first(factory):
    factory.evaluation("idea", (-0.03, -0.03), patch_sha="ab" * 32, budget="1M")
    factory.evaluation("idea", GOOD, FRESH, patch_sha="ab" * 32)
    made = report.collect(factory.store, "idea")
    assert [section.entry.evaluation.budget for section in made.sections] == ["smoke", "1M"]
    assert made.verdict == "CONFIRMED"


def test_the_same_files_give_the_same_report(factory, tmp_path):
    factory.evaluation("idea", GOOD, FRESH)
    first = written(factory, tmp_path)
    assert written(factory, tmp_path) == first


def test_what_a_track_measures_beside_the_loss_stands_core_beside_submission(factory, tmp_path):
    factory.details = {"MSE, t 0–0.25": (0.25, 0.125), "codes | in <use>": (100.0, 90.0), "scored tokens": (5e5, 5e5)}
    factory.evaluation("idea", GOOD, FRESH)
    files = written(factory, tmp_path)
    rows = [line for line in files["report.md"].splitlines() if line.startswith(("| MSE", "| codes", "| scored"))]
    assert rows == [
        "| MSE, t 0–0.25 | 1.7500 | 1.6250 |",  # the mean of 0.25, 1.25, 2.25 and 3.25
        "| codes &#124; in &#60;use&#62; | 101.5 | 91.5 |",
        "| scored tokens | 500001.5 | 500001.5 |",
    ]
    assert "<td>codes | in &lt;use&gt;</td><td>101.5</td><td>91.5</td>" in files["report.html"]


def test_a_track_without_such_numbers_has_no_table_of_them(factory, tmp_path):
    factory.evaluation("idea", GOOD, FRESH)
    assert all("Beside the loss" not in text for text in written(factory, tmp_path).values())


def test_an_unknown_submission_is_told_so(factory):
    with pytest.raises(UsageError, match="no evaluation of it"):
        report.collect(factory.store, "nobody")
