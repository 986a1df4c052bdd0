"""Samples from finished runs of every kind of track, through the real command line and real processes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.records.record import RunRecord, RunSpec
from harness.run import arms, judge, kept
from harness.run.measure import measure_of
from harness.submission.patch import unpatched
from harness.tracks import Track, budget_named, track_named
from tests.conftest import COMMAND, Project

TRACKS = ("llm-tiny", "flow-tiny", "vqvae-tiny", "multimodal-tiny")


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project]) -> Project:
    """A kept run of the core on each tiny track, trained on 8,192 tokens."""
    made = make_project("generate")
    for name in TRACKS:
        train_and_keep(made.root, track_named(name))
    return made


def train_and_keep(root: Path, track: Track) -> None:
    """What a run leaves behind, without the scoring and the audit that test_end_to_end.py looks at."""
    budget, measure = budget_named("test"), measure_of(track)
    prepared = measure.prepare(track, None, lambda line: None)
    spec = RunSpec(
        arm="core",
        patch_sha=None,
        core_id=arms.track_core_id(root, track),
        track=track.name,
        budget=budget.name,
        tokens=budget.tokens,
        seed=0,
        round="calibrate",
        pair=0,
        order=0,
        attempt=1,
        data_id=prepared.data_id,
    )
    with arms.fresh_folder(root / ".blueberry" / "work" / "test") as work:
        core = unpatched(root, None, work / "core")
        with arms.built(work, {"core": core}) as built:
            feed = measure.feed(prepared, track, 0, budget.tokens, 1)
            trained = judge.train(built["core"], track, budget.tokens, 0, feed, None, lambda *told: None)
            sha = trained.checkpoint.sha256
            record = RunRecord(evaluation="test", spec=spec, status="completed", checkpoint_sha256=sha)
            data = kept.TrainedOn.of(prepared)
            folder = kept.cell_folder(root, track.name, budget.name)
            kept.keep(folder, built["core"], record, trained.checkpoint.fd, data)
            trained.checkpoint.close()


def picture(path: str | Path, root: Path) -> np.ndarray:
    with Image.open(root / path) as image:
        return np.asarray(image)


def test_text_goes_on_from_a_prompt_and_equal_seeds_say_the_same(project: Project) -> None:
    command = ("generate", "llm-tiny/test/core", "--prompt", "The function returns", "--max-new-tokens", "12")
    one, again = (project.json(*command)["written"] for _ in range(2))
    assert one == again and one[0]["prompt"] == "The function returns" and one[0]["text"]
    assert project.json(*command, "--seed", "1")["written"] != one
    done = project.call(*command)
    assert done.stdout == f"The function returns{one[0]['text']}\n"


def test_interactive_mode_answers_one_prompt_after_the_other(project: Project) -> None:
    done = subprocess.run(
        [str(COMMAND), "generate", "llm-tiny/test/core", "--interactive", "--max-new-tokens", "3"],
        cwd=project.root,
        input="A line\nAnother line\n",
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("A line") for line in lines) and any(line.startswith("Another line") for line in lines)


def test_a_flow_draws_a_grid_of_classes_and_single_pictures(project: Project) -> None:
    files = project.json(
        "generate", "flow-tiny/test/core", "--class-grid", "--samples-per-class", "2", "--num-steps", "2"
    )["files"]
    assert len(files) == 1 + 20
    assert picture(files[0], project.root).shape == (10 * 18 * 4 + 8, 2 * 18 * 4 + 8)
    assert picture(files[1], project.root).shape == (16, 16)
    one = project.json(
        "generate", "flow-tiny/test/core", "--class-label", "3", "--num-samples", "1", "--num-steps", "1"
    )
    assert len(one["files"]) == 2
    singles = sorted(path.name for path in (project.root / "generated" / "individual").iterdir())
    assert singles == ["sample_000.png"], "those of the larger call are gone"


def test_a_grid_of_classes_obeys_the_guidance(project: Project) -> None:
    command = ("generate", "flow-tiny/test/core", "--class-grid", "--samples-per-class", "1", "--num-steps", "3")
    plain, again, guided = (
        picture(project.json(*command, "--cfg-scale", scale)["files"][0], project.root) for scale in ("1", "1", "40")
    )
    assert np.array_equal(plain, again) and not np.array_equal(plain, guided)


def test_a_flow_is_drawn_from_without_its_data(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The names of its classes lie beside its weights; no set can be prepared where the cache is a file."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    files = project.json("generate", "flow-tiny/test/core", "--num-samples", "1", "--num-steps", "1")["files"]
    assert len(files) == 2
    assert project.call("generate", "multimodal-tiny/test/core", "--num-samples", "1").returncode == 3


def test_a_run_on_codes_of_an_older_frozen_tokenizer_names_it(project: Project) -> None:
    cell = project.root / ".blueberry" / "checkpoints" / "multimodal-tiny-test"
    shutil.copytree(cell / "core", cell / "older")
    for name, field, old in (("run.json", "data_id", "0" * 64), ("data.json", "visual", "feed" * 16)):
        text = (cell / "older" / name).read_text()
        (cell / "older" / name).write_text(re.sub(rf'("{field}": )"[0-9a-f]+"', rf'\1"{old}"', text))
    done = project.call("generate", "multimodal-tiny/test/older", "--prompt", "a photo of a seven")
    assert done.returncode == 2 and "frozen tokenizer feedfeedfeed" in done.stderr and "Traceback" not in done.stderr


def test_a_caption_becomes_a_picture(project: Project) -> None:
    files = project.json(
        "generate", "multimodal-tiny/test/core", "--prompt", "a photo of a seven", "--num-samples", "4"
    )["files"]
    assert len(files) == 5 and picture(files[1], project.root).shape == (16, 16)
    done = project.call("generate", "multimodal-tiny/test/core", "--prompt", "a photo of a frog")
    assert done.returncode == 2 and "seven" in done.stderr and "Traceback" not in done.stderr


def test_a_visual_tokenizer_shows_held_out_pictures_beside_what_their_codes_give(project: Project) -> None:
    files = project.json("generate", "vqvae-tiny/test/core", "--num-samples", "4")["files"]
    assert len(files) == 1 + 8
    given = picture(files[1], project.root)
    assert given.std() > 20 and picture(files[2], project.root).shape == given.shape


@pytest.mark.parametrize(("track", "options"), [("flow-tiny", ("--num-steps", "2")), ("multimodal-tiny", ())])
def test_quality_is_told_beside_that_of_real_pictures(project: Project, track: str, options: tuple[str, ...]) -> None:
    found = project.json("quality", f"{track}/test/core", "--samples-per-class", "3", *options)
    assert found["images"] == found["compared"] == 30 and 0 <= found["accuracy"] < found["real_accuracy"] <= 1
    assert found["distance"] > found["real_distance"] > 0 and len(found["by_class"]) == 10
    through = found["rebuilt_accuracy"]
    assert through is None if track == "flow-tiny" else found["accuracy"] < through <= found["real_accuracy"] + 0.03


def test_quality_of_a_visual_tokenizer_is_that_of_what_it_rebuilds(project: Project) -> None:
    found = project.json("quality", "vqvae-tiny/test/core")
    assert found["images"] == found["compared"] > 100
    assert 0 <= found["accuracy"] < found["real_accuracy"] and found["distance"] > found["real_distance"] > 0


def test_a_language_model_becomes_a_folder_and_what_draws_pictures_is_refused(project: Project) -> None:
    answer = project.json("export", "llm-tiny/test/core", "--output-dir", "out")
    made = {path.name for path in (project.root / answer["folder"]).iterdir()}
    assert made >= {"config.json", "modeling_blueberry.py", "model_core_lm.py", "model.safetensors", "tokenizer.json"}
    for track in ("flow-tiny", "vqvae-tiny", "multimodal-tiny"):
        done = project.call("export", f"{track}/test/core")
        assert done.returncode == 2 and "llm-tiny" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "llm-tiny/test/core"),
        (["flow-tiny/test/core", "--class-label", "10"], "0 to 9"),
        (["flow-tiny/test/core", "--prompt", "a frog"], "--class-label"),
        (["flow-tiny/test/core", "--top-k", "5"], "--top-k: is for llm-tiny"),
        (["flow-tiny/test/core", "--max-new-tokens", "5"], "--max-new-tokens: is for llm-tiny"),
        (["llm-tiny/test/core", "--num-samples", "4"], "--num-samples: is for flow-tiny"),
        (["llm-tiny/test/core", "--class-grid"], "--class-grid: is for flow-tiny, flow-48m, multimodal-tiny"),
        (["multimodal-tiny/test/core", "--cfg-scale", "2"], "--cfg-scale: is for flow-tiny, flow-48m;"),
        (["multimodal-tiny/test/core", "--repetition-penalty", "2"], "--repetition-penalty: is for llm-tiny"),
        (["vqvae-tiny/test/core", "--seed", "1"], "vqvae-tiny takes --num-samples, --output-dir"),
        (["llm-tiny/test/core", "--temperature", "-1"], "--temperature"),
        (["llm-tiny/test/core", "--temperature", "nan"], "--temperature"),
        (["llm-tiny/test/core", "--top-p", "nan"], "--top-p"),
        (["flow-tiny/test/core", "--cfg-scale", "inf"], "--cfg-scale"),
        (["llm-tiny/test/core", "--seed", str(2**64)], "--seed"),
        (["flow-tiny/test/core", "--output-dir", "model_core/flow.py"], "model_core/flow.py is a file"),
        (["flow-tiny/test/core", "--output-dir", "model_core/flow.py/in"], "model_core/flow.py is a file"),
        (["llm-tiny/test/core", "--data", "files:/nowhere"], "/nowhere"),
        (["llm-tiny/test/core", "--interactive", "--prompt", "a"], "--prompt: says nothing beside --interactive"),
        (["multimodal-tiny/test/core", "--prompt", "a", "--class-label", "1"], "nothing beside --prompt"),
        (["multimodal-tiny/test/core", "--prompt", "a", "--class-grid"], "nothing beside --prompt"),
        (["flow-tiny/test/core", "--class-grid", "--class-label", "1"], "nothing beside --class-grid"),
        (["flow-tiny/test/core", "--class-grid", "--num-samples", "4"], "nothing beside --class-grid"),
        (["flow-tiny/test/core", "--samples-per-class", "4"], "add --class-grid"),
    ],
)
def test_what_cannot_be_drawn_is_one_message(project: Project, arguments: list[str], said: str) -> None:
    done = project.call("generate", *arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
