"""From a kept run of a language track to a folder that transformers loads, and with it whatever builds on transformers.

The core's code is copied and its weights are renamed; none of it is run here. Whoever loads the folder runs it, and
transformers asks them for `trust_remote_code=True`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Any, BinaryIO

from harness.data.prepare import PreparedData
from harness.data.tokenizer import END_OF_TEXT
from harness.errors import UsageError
from harness.generate.flatten import flat_name, flattened
from harness.generate.text import text_of
from harness.records.atomic import disk_trouble
from harness.records.record import RunRecord, canonical, write_json
from harness.run.kept import KeptRun
from harness.tracks import TRACKS, TextTrack, Track

WRAPPER, MODELING = "blueberry_wrapper", "modeling_blueberry"
CLASSES = '''"""{title}, as transformers loads it.

Every module of the core is named here, because transformers copies only files that it finds named in this way.
"""

from .blueberry_wrapper import CoreConfig, CoreForCausalLM
{modules}
from .{recipe} import PRESETS, {model}
from .{train} import build


class BlueberryConfig(CoreConfig):
    def __init__(self, **others):
        super().__init__(PRESETS["{preset}"], **others)


class BlueberryForCausalLM(CoreForCausalLM):
    config_class = BlueberryConfig
    kind = {model}
    preset = PRESETS["{preset}"]
    build = staticmethod(build)
'''
CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- blueberry
---
# {title}

A language model from one run of the Blueberry harness, with the code that it was trained with. That a run was exported
says nothing of its verdict: that is in the evaluation below.

| | |
|---|---|
{facts}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("{folder}", trust_remote_code=True)
```

`model_core_*.py` is the run's own code with its imports made relative: `trust_remote_code=True` runs it, so read it
first. The weights are float32 whatever `dtype` says; for a lower precision use `torch.autocast`, as the training did. A
row holds at most `model.config.max_position_embeddings` tokens and is padded on either side. Text is generated without
a cache, so each new token reads the whole row again.
"""


def text_track(track: Track, name: str) -> TextTrack:
    """The track; raises UsageError when its models are not what AutoModelForCausalLM stands for."""
    if isinstance(track, TextTrack):
        return track
    fitting = ", ".join(track.name for track in TRACKS.values() if isinstance(track, TextTrack))
    what = f"a run of track {track.name}, whose models make images: transformers has no class that reads them"
    raise UsageError(name, what, f"export a run of {fitting}; `blueberry generate` draws from the others")


def export(kept: KeptRun, track: TextTrack, prepared: PreparedData, folder: Path) -> None:
    """Writes the whole folder or nothing. Raises UsageError when there is something in its place."""
    text_of(prepared)  # raises where the data has no tokenizer
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(str(folder), "is there already", "choose another --output-dir, or delete it")
    modules = flattened(kept.code, (track.module, "train"))
    part = folder.resolve().with_name(f".{folder.name}.part")
    with disk_trouble(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, source in modules.items():
            (part / f"{name}.py").write_text(source, encoding="utf-8")
        shutil.copyfile(Path(__file__).parent / "wrapper.py", part / f"{WRAPPER}.py")
        (part / f"{MODELING}.py").write_text(_classes(kept.record, track, list(modules)), encoding="utf-8")
        shutil.copyfile(prepared.folder / "tokenizer.json", part / "tokenizer.json")
        for name, content in _settings(text_of(prepared).end).items():
            (part / name).write_text(canonical(content), encoding="utf-8")
        with open(kept.weights, "rb") as source_file, open(part / "model.safetensors", "wb") as target:
            copy_weights(source_file, target)
        (part / "README.md").write_text(_card(kept.record, folder.name), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        part.rename(folder)


def copy_weights(source: BinaryIO, target: BinaryIO) -> None:
    """A safetensors file with each tensor named as a part of `core`, and with the format that transformers asks for."""
    (length,) = struct.unpack("<Q", source.read(8))
    header = json.loads(source.read(length))
    renamed = {f"core.{name}": entry for name, entry in header.items()}
    raw = json.dumps({"__metadata__": {"format": "pt"}, **renamed}).encode()
    raw += b" " * (-len(raw) % 8)  # the numbers behind it begin at a multiple of 8
    target.write(struct.pack("<Q", len(raw)) + raw)
    shutil.copyfileobj(source, target, 1 << 24)


def _classes(record: RunRecord, track: TextTrack, modules: list[str]) -> str:
    recipe, train = (flat_name(f"model_core.{name}") for name in (track.module, "train"))
    others = [name for name in modules if name not in (recipe, train)]
    return CLASSES.format(
        title=_title(record),
        modules="\n".join(f"from .{name} import __name__ as _  # noqa: F401" for name in others),
        recipe=recipe,
        train=train,
        model=track.model,
        preset=track.preset,
    )


def _settings(end: int) -> dict[str, dict[str, Any]]:
    """The small JSON files, by name. One token stands between texts, and so for their beginning, end and absence."""
    special = {f"{kind}_token": END_OF_TEXT for kind in ("bos", "eos", "pad")}
    ids = {f"{kind}_token_id": end for kind in ("bos", "eos", "pad")}
    classes = {"AutoConfig": f"{MODELING}.BlueberryConfig", "AutoModelForCausalLM": f"{MODELING}.BlueberryForCausalLM"}
    return {
        "config.json": {
            "architectures": ["BlueberryForCausalLM"],
            "auto_map": classes,
            "dtype": "float32",
            "model_type": "blueberry",
            "tie_word_embeddings": False,  # where the core ties them, it holds one matrix and no copy
            **ids,
        },
        "generation_config.json": {"use_cache": False, **ids},
        "tokenizer_config.json": {
            "clean_up_tokenization_spaces": False,
            "tokenizer_class": "PreTrainedTokenizerFast",
            **special,
        },
    }


def _title(record: RunRecord) -> str:
    spec = record.spec
    return f"{spec.arm} on {spec.track} at {spec.budget}"


def _card(record: RunRecord, folder: str) -> str:
    spec = record.spec
    split = "test" if spec.round == "confirm" else "validation"
    loss = "unknown" if record.loss is None else f"{record.loss:.4f} nats per token on the {split} split"
    run_file = hashlib.sha256(write_json(record).encode()).hexdigest()
    facts = {
        "loss": loss,
        "trained on": f"{record.tokens_served:,} tokens, data `{spec.data_id}`",
        "parameters": f"{record.model.parameters:,}" if record.model else "unknown",
        "patch": f"`{spec.patch_sha}`" if spec.patch_sha else "none: the core itself",
        "core": f"`{spec.core_id}` (the track's files, unpatched)",
        "evaluation": f"`{record.evaluation}`",
        "run file": f"`{spec.stem}.json`, sha256 `{run_file}`",
        "checkpoint": f"sha256 `{record.checkpoint_sha256}`, before its tensors were renamed",
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return CARD.format(title=_title(record), facts=lines, folder=folder)
