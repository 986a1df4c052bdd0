"""The HTML report in a real browser: one printed page, never wider than a phone. Skipped where there is no Chromium."""

import re
import shutil
import subprocess

import pytest

from harness.board import noise_report, report
from harness.errors import UsageError

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
SMALL = tuple(0.003 * (-1) ** n + 0.004 for n in range(10))


def browse(tmp_path, *arguments):
    """Run the browser without a window on a profile of its own; returns what it printed."""
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=120)
    return done.stdout


def printed(page, tmp_path):
    """How many sheets of paper a page takes."""
    target = tmp_path / "page.pdf"
    browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={target}", page.as_uri())
    return len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))


def written(factory, tmp_path, slug="idea"):
    paths = report.write(factory.store, slug, tmp_path / "out")
    return next(path for path in paths if path.name == "report.html")


@needs_browser
def test_the_longest_report_of_one_patch_prints_on_one_page(factory, tmp_path):
    bank = "s0 0.0064 nats from 20 evaluations (80 df), two host classes pooled (Levene p 0.584); " * 3
    claims = {"patch_sha": "ab" * 32, "title": "long words " * 11, "bank": bank}
    factory.evaluation("idea", SMALL, (0.01,) * 4, metrics=("loss", "speed"), k=4, **claims)
    factory.evaluation("idea", SMALL, (0.01,) * 4, budget="1M", **claims)
    page = written(factory, tmp_path)
    assert page.read_text().count("<section") == 3
    assert printed(page, tmp_path) == 1


@needs_browser
def test_a_report_without_any_pair_prints_on_one_page(factory, tmp_path):
    factory.evaluation("idea", (0.3,), status="refused")
    assert printed(written(factory, tmp_path), tmp_path) == 1


@needs_browser
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_a_report_never_has_to_be_moved_sideways(factory, tmp_path, width):
    factory.evaluation("idea", SMALL[:4], (0.01,) * 4, title="x" * 119)
    page = written(factory, tmp_path)
    frame = tmp_path / "frame.html"  # a window cannot be as narrow as a phone, a frame can
    frame.write_text(
        f"<iframe id=f src='{page.as_uri()}' width={width} height=800></iframe><script>onload=()=>{{"
        "const d=f.contentDocument.documentElement;document.title=d.scrollWidth+' of '+d.clientWidth}</script>"
    )
    shown = browse(tmp_path, "--allow-file-access-from-files", "--dump-dom", frame.as_uri())
    reached, room = map(int, re.search(r"<title>(\d+) of (\d+)</title>", shown).groups())
    assert width - 30 <= room <= width
    assert reached <= room


def test_the_page_on_noise_has_every_figure_and_every_host(factory, tmp_path):
    factory.calibration()
    factory.evaluation("idea", SMALL[:4])
    files = {path.name: path.read_text() for path in noise_report.write(factory.store, tmp_path)}
    drawn = {name for name in files if name.endswith(".svg")}
    assert drawn == {f"noise-llm-tiny{part}.svg" for part in ("", "-spread", "-same", "-spent")}
    assert set(re.findall(r"\(figures/([^)]+)\)", files["report.md"])) == drawn
    assert files["report.html"].count("<svg ") == 4
    for text in (files["report.md"], files["report.html"]):
        assert "1 claims have been decided" not in text and "One claim has been decided" in text
        assert "Test CPU, 2 threads, torch 2.13.0" in text
    ids = re.findall(r'\bid="([^"]+)"', files["report.html"])
    assert len(ids) == len(set(ids))


def test_without_any_evaluation_there_is_no_page_on_noise(factory, tmp_path):
    with pytest.raises(UsageError, match="no noise has been measured"):
        noise_report.write(factory.store, tmp_path)
