import json
import re
from typing import get_args

import pytest
from board_factory import CORE_ID, HOST

from harness.board import leaderboard, report
from harness.board.entries import MEANINGS, State
from harness.errors import MachineError
from harness.words import NEXT

GOOD = (0.031, 0.027)
FRESH = (0.03, 0.021, 0.02, 0.025)


def part(text, heading):
    """The lines under one heading of the board, up to the next."""
    return re.split(r"\n#+ ", text.split(f"# {heading}\n", 1)[1])[0]


def rows(text):
    """Cells of the table rows of a text, head and rule left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def write(factory):
    leaderboard.write(factory.store)
    report.refresh(factory.store)


def text_of(factory):
    return leaderboard.render(leaderboard.collect(factory.store))


def test_only_confirmed_rows_are_ranked_and_the_larger_gain_comes_first(factory):
    factory.evaluation("small", (0.012, 0.007, 0.014, 0.009), (0.011, 0.009, 0.012, 0.008))
    factory.evaluation("large", GOOD, FRESH)
    factory.evaluation("accepted-only", GOOD)
    factory.evaluation("lost", GOOD, (-0.01, -0.02, 0.0, 0.001))
    ladder = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    assert [(row[0], row[2].split("]")[0]) for row in ladder] == [("1", "[large"), ("2", "[small")]


def test_the_ladder_shows_the_confirm_rounds_numbers(factory):
    factory.evaluation("idea", GOOD, FRESH, faster=0.01)
    (row,) = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    head = ["rank", "date", "idea", "kind", "loss", "gain", "time", "net", "lines", "larger", "evidence", "state"]
    shown = dict(zip(head, row, strict=True))
    assert shown["gain"].startswith("+0.0240 [")
    assert shown["time"] == "0.990"
    assert shown["loss"].endswith("(4)")
    assert shown["lines"] == "+6 −1"
    assert shown["net"] == "+6.17k"  # 65,536 * (exp(0.024 / 0.3 + 0.01) - 1)


def test_rows_without_a_sandbox_are_provisional(factory):
    factory.evaluation("open-air", GOOD, FRESH, provisional=False, sandbox="none")
    factory.evaluation("boxed", GOOD, FRESH, provisional=False, sandbox="bubblewrap")
    ladder = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    assert {row[2].split("]")[0]: row[-1] for row in ladder} == {
        "[open air": "confirmed, provisional",
        "[boxed": "confirmed",
    }


def test_a_record_on_an_older_core_is_stale_and_not_ranked(factory):
    factory.evaluation("old", GOOD, (0.3, 0.3, 0.3, 0.3), core_id="ab" * 32, opened="2025-01-01T00:00:00Z")
    factory.evaluation("new", GOOD, FRESH)
    ladder = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    assert [(row[0], row[-1]) for row in ladder] == [("1", "confirmed, provisional"), ("–", "stale, provisional")]


def test_todays_core_is_read_from_the_clone(factory, tmp_path):
    factory.evaluation("idea", GOOD, FRESH)
    core = tmp_path / "model_core"
    core.mkdir()
    for name in ("__init__.py", "layers.py", "lm.py", "muon.py", "train.py"):
        (core / name).write_text("")
    text = leaderboard.render(leaderboard.collect(factory.store, tmp_path))
    assert rows(part(text, "smoke: loss (data dadadada)"))[0][-1] == "stale, provisional"


def test_times_have_one_ladder_per_host_class_and_losses_one_for_all(factory):
    for number, cpu in enumerate(("Fast CPU", "Slow CPU")):
        host = HOST.model_copy(update={"cpu": cpu})
        fields = {"metrics": ("loss", "speed"), "faster": 0.05, "host": host, "k": 2}
        factory.evaluation(f"idea-{number}", (0.032, 0.031, 0.03), FRESH, **fields)
    board = text_of(factory)
    headings = re.findall(r"^#### (.*)$", board, re.M)
    assert headings == [
        "smoke: loss (data dadadada)",
        "smoke: time on Fast CPU, 2 threads, torch 2.13.0 (data dadadada)",
        "smoke: time on Slow CPU, 2 threads, torch 2.13.0 (data dadadada)",
    ]
    assert len(rows(part(board, headings[0]))) == 2


def test_a_confirmed_replication_is_evidence_and_not_a_second_record(factory):
    for _ in range(2):
        factory.evaluation("idea", GOOD, FRESH, patch_sha="ab" * 32)
    factory.evaluation("idea", (0.0, 0.001, -0.001), patch_sha="ab" * 32)
    factory.evaluation("idea", (0.0, 0.001, -0.001), patch_sha="ab" * 32, core_id="00" * 32)  # another race
    factory.evaluation("other", GOOD, FRESH[:2], core_id=CORE_ID)
    (row,) = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    assert row[-2].endswith("replicated 1 of 2 times")


def test_larger_budgets_are_named_with_their_outcome(factory):
    factory.evaluation("idea", GOOD, FRESH, patch_sha="ab" * 32)
    factory.evaluation("idea", (-0.03, -0.03), patch_sha="ab" * 32, budget="1M")
    (row,) = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    assert row[-3] == "1M rejected"


def test_a_gain_on_top_of_other_patches_says_so(factory):
    factory.evaluation("idea", GOOD, FRESH, builds_on=("wide@" + "0" * 64,))
    (row,) = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    assert row[2] == "[idea](reports/idea.md) given wide (Ada)"


def test_the_same_patch_given_others_is_a_record_of_its_own(factory):
    for parents in ((), ("wide@" + "0" * 64,)):
        factory.evaluation("idea", GOOD, FRESH, patch_sha="ab" * 32, builds_on=parents)
    found = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    assert sorted("given wide" in row[2] for row in found) == [False, True]
    assert not any("replicated" in row[-2] for row in found)


def test_what_was_tried_is_listed_with_its_reason(factory):
    factory.evaluation("worse", (-0.03, -0.03))
    factory.evaluation("leaky", (0.3, 0.3), status="refused")
    factory.evaluation("lucky", GOOD, (-0.01, -0.02, 0.0, 0.001))
    factory.evaluation("broken-rule", GOOD, FRESH, invalidated="the data leaked")
    tried = rows(part(text_of(factory), "Tried"))
    found = {row[1].split("]")[0][1:]: (row[-2].split(",")[0], row[-1]) for row in tried}
    assert found["worse"] == ("rejected", "the loss is higher")
    assert found["leaky"][0] == "refused" and "audit disagrees" in found["leaky"][1]
    assert found["lucky"] == ("revoked", "the gain was gone on fresh seeds")
    assert found["broken rule"] == ("invalidated", "the data leaked")


def test_the_author_of_a_revoked_gain_is_told_where_the_board_shows_it(factory):
    factory.evaluation("lucky", GOOD, (-0.01, -0.02, 0.0, 0.001))
    assert "[lucky]" in part(text_of(factory), "Tried")
    assert NEXT["REVOKED"].endswith("It is no record; the board shows it under Tried.")


def test_a_refused_row_shows_no_number(factory):
    factory.evaluation("leaky", (0.3, 0.3), status="refused")
    (row,) = rows(part(text_of(factory), "Tried"))
    assert row[4] == "–"


def test_an_exploration_is_no_record_even_when_it_holds(factory):
    factory.evaluation("idea", GOOD, FRESH, claimed=False)
    board = text_of(factory)
    assert "None yet." in board
    assert "exploratory" in rows(part(board, "Tried"))[0][-2]


def test_running_evaluations_show_how_far_they_are(factory):
    factory.evaluation("fresh", (0.01, 0.012), close=False)
    factory.evaluation("nearly", GOOD, FRESH[:1], close=False)
    assert [row[4] for row in rows(part(text_of(factory), "Running and waiting"))] == [
        "2 of at most 10",
        "confirming, 1 of 4",
    ]


def test_a_review_on_an_older_core_waits_for_nobody(factory):
    factory.evaluation("dear", GOOD, faster=-0.3, core_id="ab" * 32, opened="2025-01-01T00:00:00Z")
    factory.evaluation("today", GOOD, faster=-0.3)
    text = text_of(factory)
    assert [row[7] for row in rows(part(text, "Running and waiting"))] == ["review, provisional"]
    today, earlier = part(text, "Tried").split("<details>")
    assert "Nothing." in today
    assert "earlier cores (1)" in earlier
    assert [row[8] for row in rows(earlier)] == ["review, provisional"]


def test_local_rows_link_to_no_report(factory):
    factory.evaluation("idea", GOOD, FRESH, official=False)
    (row,) = rows(part(text_of(factory), "smoke: loss (data dadadada)"))
    assert row[2] == "idea (Ada)" and row[-1] == "confirmed, provisional, local"
    assert report.refresh(factory.store) == []


def test_published_rows_stand_apart_and_say_that_they_are_single_runs(factory):
    factory.evaluation("idea", GOOD, FRESH)
    published = rows(part(text_of(factory), "Published elsewhere, never measured again here"))
    assert {row[-1] for row in published} == {"published, n = 1"}
    (moe,) = (row for row in published if row[0] == "llm-moe")
    assert moe[3:6] == ["3.6684", "35.64", "39.19"]
    assert list(dict.fromkeys(row[1] for row in published if row[0] == "llm-88m")) == ["8M", "20M", "100M", "1B"]


@pytest.mark.parametrize(
    "evil", ["a | b", "</details>", "@everyone", "\x1b[2J", "x" * 70_000, "[x](http://e.vil)", "a\n| b |\n# c"]
)
def test_hostile_names_change_no_table(factory, evil):
    fields = {"title": evil, "authors": (evil, "Ada"), "invalidated": None}
    factory.evaluation("ladder", GOOD, FRESH, **fields)
    factory.evaluation("tried", GOOD, FRESH, **fields | {"invalidated": evil})
    text = text_of(factory)
    assert len(text) < 15_000
    assert "\x1b" not in text and text.count("</details>") == 1 and "@everyone" not in text
    assert len(rows(part(text, "smoke: loss (data dadadada)"))[0]) == 12
    assert len(rows(part(text, "Tried"))[0]) == 10


def test_the_same_files_give_the_same_bytes(factory):
    factory.calibration()
    factory.evaluation("idea", GOOD, FRESH)
    assert text_of(factory) == text_of(factory)
    write(factory)
    before = {path: path.read_bytes() for path in factory.store.folder.rglob("*.*")}
    for path in before:
        if path.suffix in (".md", ".svg"):
            path.unlink()
    write(factory)
    assert {path: path.read_bytes() for path in factory.store.folder.rglob("*.*")} == before


def test_a_fresh_board_is_not_stale_and_writing_it_again_changes_nothing(factory):
    factory.evaluation("idea", GOOD, FRESH)
    names = [path.relative_to(factory.store.folder).as_posix() for path in leaderboard.check(factory.store)]
    assert names == ["LEADERBOARD.md", "reports/idea.md", "reports/idea.svg"]
    write(factory)
    assert leaderboard.check(factory.store) == []
    board = leaderboard.write(factory.store)
    written = board.stat().st_mtime_ns
    leaderboard.write(factory.store)
    assert board.stat().st_mtime_ns == written
    assert report.refresh(factory.store) == []


def test_a_changed_run_file_makes_board_report_and_figure_stale(factory):
    record = factory.evaluation("idea", GOOD, FRESH)
    write(factory)
    path = factory.store.folder / "runs" / record.id / "decide-01-0-idea-a1.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps(run | {"loss": run["loss"] - 0.001}))
    assert [path.name for path in leaderboard.check(factory.store)] == ["LEADERBOARD.md", "idea.md", "idea.svg"]


def test_a_missing_figure_and_an_edited_board_are_stale(factory):
    factory.evaluation("idea", GOOD, FRESH)
    write(factory)
    (factory.store.folder / "reports" / "idea.svg").unlink()
    board = factory.store.folder / "LEADERBOARD.md"
    board.write_text(board.read_text().replace("+0.0240", "+0.2400"))
    assert [path.name for path in leaderboard.check(factory.store)] == ["LEADERBOARD.md", "idea.svg"]


def test_an_unreadable_run_file_is_named(factory):
    record = factory.evaluation("idea", GOOD)
    path = factory.store.folder / "runs" / record.id / "decide-00-0-core-a1.json"
    path.write_text("{")
    with pytest.raises(MachineError, match=re.escape(str(path))):
        leaderboard.collect(factory.store)


def test_an_empty_store_has_a_board(factory):
    assert "Published elsewhere" in text_of(factory)


def test_the_noise_figure_is_written_beside_the_reports_and_told_when_stale(factory):
    factory.calibration()
    write(factory)
    figure = factory.store.folder / "reports" / "noise-llm-tiny.svg"
    assert f"(reports/{figure.name})" in (factory.store.folder / leaderboard.NAME).read_text()
    assert leaderboard.check(factory.store) == []
    drawn = figure.read_text()
    figure.write_text(drawn.replace("sha256:", "sha256:0"))
    assert leaderboard.check(factory.store) == [figure]
    write(factory)
    assert figure.read_text() == drawn


def test_the_board_says_how_much_error_has_been_spent(factory):
    for slug in ("one", "two", "three"):
        factory.evaluation(slug, GOOD, FRESH)
    factory.evaluation("open", GOOD, close=False)
    text = part(text_of(factory), "Noise")
    assert "3 claims have been decided" in text and "0.06 of them" in text


def test_every_state_that_a_row_can_show_is_explained(factory):
    """Also what qualifies one: a stranger's first look is at this table."""
    assert set(get_args(State)) <= MEANINGS.keys()
    factory.evaluation("mine", GOOD, FRESH, official=False, claimed=False)
    text = text_of(factory)
    (row,) = [line for line in text.splitlines() if "mine" in line and line.startswith("|")]
    words = row.split(" | ")[-2].split(", ")
    assert words == ["confirmed", "provisional", "local", "exploratory"]
    assert all(f"- `{word}`: {MEANINGS[word]}" in text for word in words)
