"""Exported runs as transformers loads them: in a process that knows neither this project nor a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.data.prepare import PreparedData
from harness.data.tokenizer import train_bpe
from harness.errors import UsageError
from harness.generate.export import export, text_track
from harness.generate.flatten import flattened
from harness.records.record import RunRecord, RunSpec, write_json
from harness.records.store import sha256
from harness.run.kept import KeptRun
from harness.tracks import TRACKS
from tests.conftest import REPOSITORY

VOCABULARY = 300
SIZES = "vocab_size=300, max_seq_len=32, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48"
ROWS = [[7, 8, 9, 200, 11, 299, 3], [5, 6, 7, 8, 9, 10, 12], [1, 2, 3, 4, 5, 6, 7]]

FACTOR = "        from model_core.gate import factor as f"
# (file of the core, what stands there, what a patch makes of it)
DENSE = (
    ("lm.py", '    "tiny": LMConfig(\n', f'    "tiny": LMConfig({SIZES}, compile=False),\n    "old": LMConfig(\n'),
    ("lm.py", "from model_core import layers\n", "from model_core import (\n    gate,\n    layers,\n)\n"),
    ("lm.py", "        x = x + self.drop(self.mlp(", "        x = x + gate.factor() * self.drop(self.mlp("),
    (
        "layers.py",
        "        h = F.relu(self.up(x))",
        f"{FACTOR}; h = f() * F.relu(self.up(x))",
    ),
    (
        "train.py",
        "    model.to_empty(",
        "    import math, model_core.gate as g; assert g.factor() == math.sqrt(4)\n    model.to_empty(",
    ),
    ("__init__.py", '"""What', 'SCALE = 2\n"""What'),
)
GATE = 'from . import SCALE\n\n\ndef factor() -> float:\n    """model_core."""\n    return SCALE\n'
MOE = (("moe.py", '    "moe": MoEConfig(),\n', f'    "moe": MoEConfig({SIZES}, n_experts=4),\n'),)

# In a folder that holds model_core: weights as a run leaves them, and the logits of the rows
TRAINED = """
import importlib, sys
from pathlib import Path
import numpy as np, torch
from safetensors.torch import save
module, kind, preset, rows, out = sys.argv[1], sys.argv[2], sys.argv[3], eval(sys.argv[4]), Path(sys.argv[5])
recipe, train = (importlib.import_module(f"model_core.{name}") for name in (module, "train"))
model = train.build(getattr(recipe, kind), recipe.PRESETS[preset], 3, "cpu")
with torch.no_grad():
    for parameter in model.parameters():
        parameter.mul_(3.0).add_(0.01)  # as no initialisation leaves them
(out / "checkpoint.safetensors").write_bytes(save(model.state_dict()))
np.save(out / "logits.npy", train.predictor(model, "fp32")(torch.tensor(rows)).numpy())
"""

# In an empty folder: everything that the tests ask of an exported run
LOADED = """
import json, sys
import numpy as np, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, rows, out = sys.argv[1], torch.tensor(eval(sys.argv[2])), sys.argv[3]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
untrusting = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
short, pad = rows[:1, :4], torch.full((1, 3), tokenizer.pad_token_id)
right = torch.cat((torch.cat((short, pad), 1), rows[1:]))
left = torch.cat((torch.cat((pad, short), 1), rows[1:]))
mask = torch.ones_like(rows)
mask[0, 4:] = 0
with torch.no_grad():
    found = {
        "logits": model(rows).logits,
        "alone": model(input_ids=short).logits,
        "right": model(right, attention_mask=mask).logits[:1, :4],
        "left": model(left, attention_mask=torch.cat((mask[:, 4:], mask[:, :4]), 1)).logits[:1, 3:],
        "beside": model(right, attention_mask=mask).logits[1:],
        "loss": model(rows, labels=rows).loss,
        "half": AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype="bfloat16")(rows).logits,
    }
np.savez(out, **{name: value.numpy() for name, value in found.items()})
greedy = {"do_sample": False, "max_new_tokens": 28, "min_new_tokens": 28}
batch = tokenizer(["bin best", "dork lang rust"], return_tensors="pt", padding=True, padding_side="left")
print(json.dumps({
    "config": [model.config.vocab_size, model.config.max_position_embeddings],
    "dtype": str(model.dtype),
    "generated": model.generate(rows[:1], **greedy)[0].tolist(),
    "cached": model.generate(rows[:1], use_cache=True, **greedy)[0].tolist(),
    "batch": model.generate(**batch, **greedy)[:, -28:].tolist(),
    "each": [model.generate(**tokenizer([t], return_tensors="pt"), **greedy)[0, -28:].tolist()
             for t in ("bin best", "dork lang rust")],
    "ids": tokenizer("bin best")["input_ids"],
    "untrusting": untrusting("bin best")["input_ids"],
    "back": tokenizer.decode(tokenizer("bin best")["input_ids"]),
    "special": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
    "modules": sorted(name for name in sys.modules if "model_core" in name or name.startswith("harness")),
}))
"""


@dataclass(frozen=True)
class Loaded:
    """An exported run, and what a fresh process made of it."""

    kept: KeptRun
    folder: Path
    expected: np.ndarray
    arrays: dict[str, np.ndarray]
    said: dict[str, Any]


def process(code: str, *arguments: str, cwd: Path, **environment: str) -> str:
    keys = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
    keys["OMP_NUM_THREADS"] = "1"  # of models this small, threads spend their time waiting for each other
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, env=keys | environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kept_run(place: Path, track: str, edits: tuple[tuple[str, str, str], ...], **new: str) -> KeptRun:
    """What a run of a patched core leaves behind."""
    code = place / "model_core"
    shutil.copytree(REPOSITORY / "model_core", code, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, text in edits:
        source = (code / name).read_text()
        assert source.count(old) == 1, old
        (code / name).write_text(source.replace(old, text))
    for name, text in new.items():
        (code / f"{name}.py").write_text(text)
    spec = RunSpec(
        arm="idea",
        patch_sha="a" * 64,
        core_id="c" * 64,
        track=track,
        budget="test",
        tokens=8_192,
        seed=123_456_789,
        round="decide",
        pair=0,
        order=0,
        attempt=1,
        data_id="d" * 64,
    )
    record = RunRecord(evaluation="idea-e", spec=spec, status="completed", loss=1.5, tokens_served=8_192)
    return KeptRun(record, place / "checkpoint.safetensors", code)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("prepared")
    words = [f"{a}{b}{c}" for a in "bdklmr" for b in "aeiou" for c in ("n", "st", "rk", "ng")]
    (folder / "tokenizer.json").write_text(train_bpe([" ".join(words)] * 4, VOCABULARY).to_str())
    return PreparedData.model_construct(folder=folder, tokenizer="t", vocab_size=VOCABULARY, source="made up")


def loaded(place: Path, kept: KeptRun, prepared: PreparedData) -> Loaded:
    track = text_track(TRACKS[kept.record.spec.track], "")
    process(TRAINED, track.module, track.model, track.preset, str(ROWS), str(place), cwd=place)
    folder, elsewhere = place / "exported" / "llm-test-idea", place / "elsewhere"
    export(kept, track, prepared, folder)
    elsewhere.mkdir()
    told = (str(folder), str(ROWS), str(place / "found.npz"))
    said = process(LOADED, *told, cwd=elsewhere, HF_HUB_OFFLINE="1", HF_HOME=str(elsewhere))
    with np.load(place / "found.npz") as arrays:
        return Loaded(kept, folder, np.load(place / "logits.npy"), dict(arrays), json.loads(said))


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory, prepared: PreparedData) -> Loaded:
    """A patch with a module of its own, imported in every way that an export can follow."""
    place = tmp_path_factory.mktemp("dense")
    return loaded(place, kept_run(place, "llm-tiny", DENSE, gate=GATE), prepared)


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory, prepared: PreparedData) -> Loaded:
    place = tmp_path_factory.mktemp("experts")
    return loaded(place, kept_run(place, "llm-moe", MOE), prepared)


@pytest.fixture(params=["dense", "experts"])
def either(request: pytest.FixtureRequest) -> Loaded:
    found: Loaded = request.getfixturevalue(request.param)
    return found


def test_a_fresh_process_gets_the_logits_of_the_kept_model(either: Loaded) -> None:
    assert either.expected.std() > 0.1, "a model that says nothing would agree with anything"
    np.testing.assert_allclose(either.arrays["logits"], either.expected, atol=1e-5, rtol=1e-5)
    assert either.said["config"] == [VOCABULARY, 32] and either.said["dtype"] == "torch.float32"


def test_nothing_of_this_project_is_needed_to_load_it(either: Loaded) -> None:
    outside = [name for name in either.said["modules"] if not name.startswith("transformers_modules.")]
    assert outside == [] and any("model_core_layers" in name for name in either.said["modules"])


def test_padding_on_either_side_changes_nothing_for_the_row_and_for_its_neighbours(either: Loaded) -> None:
    alone = either.arrays["alone"]
    np.testing.assert_allclose(either.arrays["right"], alone, atol=1e-5)
    np.testing.assert_allclose(either.arrays["left"], alone, atol=1e-5)
    np.testing.assert_allclose(either.arrays["beside"], either.expected[1:], atol=1e-5)


def test_the_loss_is_the_mean_nats_of_each_next_token(either: Loaded) -> None:
    logits = either.expected[:, :-1].astype(np.float64)
    targets = np.array(ROWS)[:, 1:, None]
    nats = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, targets, -1)[..., 0]
    assert float(either.arrays["loss"]) == pytest.approx(nats.mean(), rel=1e-5)


def test_a_lower_dtype_leaves_the_weights_and_tables_as_they_were(either: Loaded) -> None:
    np.testing.assert_allclose(either.arrays["half"], either.expected, atol=1e-5, rtol=1e-5)


def test_text_goes_on_past_the_longest_row_and_a_batch_says_what_each_row_says_alone(either: Loaded) -> None:
    said = either.said
    assert len(said["generated"]) == 35 and said["generated"][:7] == ROWS[0]
    likeliest = either.expected[0, -1].copy()
    likeliest[said["special"][1]] = -np.inf  # no end before the length asked for
    assert said["generated"][7] == likeliest.argmax()
    assert said["cached"] == said["generated"], "asking for a cache changes nothing"
    assert said["batch"] == said["each"]


def test_the_tokenizer_is_the_runs_own(dense: Loaded, prepared: PreparedData) -> None:
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(prepared.folder / "tokenizer.json"))
    assert dense.said["ids"] == dense.said["untrusting"] == own.encode("bin best").ids
    assert dense.said["back"] == "bin best"
    assert dense.said["special"] == [own.token_to_id("<|endoftext|>")] * 3


def test_the_card_says_where_it_comes_from_and_no_seed(dense: Loaded) -> None:
    card = (dense.folder / "README.md").read_text()
    record = dense.kept.record
    for fact in (sha256(write_json(record).encode()), record.evaluation, "a" * 64, "c" * 64, "1.5000 nats"):
        assert fact in card
    assert "says nothing of its verdict" in card and str(record.spec.seed) not in card


def test_the_code_is_the_runs_own_but_for_its_imports(dense: Loaded) -> None:
    for name in ("lm", "layers", "gate", "muon", "train"):
        own = (dense.kept.code / f"{name}.py").read_text()
        copy = (dense.folder / f"model_core_{name}.py").read_text()
        changed = [line for line in own.splitlines() if line not in copy.splitlines()]
        assert all("import" in line or line in ("    gate,", "    layers,", ")") for line in changed), changed
    assert not list(dense.folder.glob("*flow*")), "what the model does not import stays behind"


def test_weights_are_copied_bit_for_bit(dense: Loaded) -> None:
    before, after = load_file(dense.kept.weights), load_file(dense.folder / "model.safetensors")
    assert {f"core.{name}" for name in before} == set(after)
    assert all((after[f"core.{name}"] == value).all() for name, value in before.items())


@pytest.mark.parametrize(
    "line",
    [
        "import model_core.layers",
        "import model_core",
        "def f():\n    import os, model_core\n",
        "import importlib\nimportlib.import_module('model_core.layers')",
    ],
)
def test_an_import_that_cannot_be_followed_is_named_and_nothing_is_written(
    tmp_path: Path, prepared: PreparedData, line: str
) -> None:
    kept = kept_run(tmp_path, "llm-tiny", (("lm.py", "import math\n", f"import math\n{line}\n"),))
    kept.weights.write_bytes(b"")
    with pytest.raises(UsageError, match=r"model_core/lm.*line \d+.*cannot be exported"):
        export(kept, text_track(TRACKS["llm-tiny"], ""), prepared, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_packages_inside_the_core_are_laid_flat(tmp_path: Path) -> None:
    for name, text in {
        "__init__.py": "",
        "train.py": "from model_core.deep import inner, VALUE\n",
        "deep/__init__.py": "from .inner import x\nVALUE = 1\n",
        "deep/inner.py": "from .. import other\nx = 1\n",
        "other.py": "import os\n",
        "unused.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert flattened(tmp_path, ["train"]) == {
        "model_core_init": "",
        "model_core_train": "from . import model_core_deep_inner as inner; from .model_core_deep import VALUE\n",
        "model_core_deep_inner": "from . import model_core_other as other\nx = 1\n",
        "model_core_deep": "from .model_core_deep_inner import x\nVALUE = 1\n",
        "model_core_other": "import os\n",
    }


@pytest.mark.parametrize("track", ["flow-tiny", "vqvae-tiny", "multimodal-tiny"])
def test_tracks_of_images_are_refused_in_one_sentence(track: str) -> None:
    with pytest.raises(UsageError, match="llm-tiny") as error:
        text_track(TRACKS[track], f"{track}/test/core")
    assert len(error.value.faults) == 1


def test_what_is_there_already_is_left_alone(tmp_path: Path, prepared: PreparedData) -> None:
    kept = kept_run(tmp_path, "llm-tiny", ())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.md").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        export(kept, text_track(TRACKS["llm-tiny"], ""), prepared, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.md"]
