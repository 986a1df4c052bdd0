"""What is raced: the tracks (model, data, metric) and the budgets. Adding a track is an entry in `TRACKS`.

A track fixes everything that a submission cannot change: which data is served, how much of it is scored, in rows of
which length, and by which metric. What a submission may change is in `model_core/`.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError


@dataclass(frozen=True)
class Budget:
    """A number of training tokens, and how many pairs may be spent to decide at that size (see CONTRIBUTING)."""

    name: str
    tokens: int
    max_pairs: int  # N: the most pairs before a verdict
    confirm_pairs: int  # pairs on fresh seeds after an acceptance
    audit_cuts: int  # sampled predictions that the audit repeats with another future
    listed: bool = True  # False: for the test suite only
    patience_s: float = 600.0  # for a worker's set-up, and for each batch that it scores
    save_every_s: float | None = None  # of training; None: a run that is cut off begins again


BUDGETS = {
    budget.name: budget
    for budget in (
        Budget("test", 8_192, max_pairs=4, confirm_pairs=1, audit_cuts=32, listed=False, patience_s=40.0),
        Budget("smoke", 65_536, max_pairs=10, confirm_pairs=4, audit_cuts=256),
        Budget("1M", 1_000_000, max_pairs=10, confirm_pairs=4, audit_cuts=512),
        Budget("8M", 8_000_000, max_pairs=10, confirm_pairs=4, audit_cuts=1_024),
        Budget("20M", 20_000_000, max_pairs=8, confirm_pairs=4, audit_cuts=1_024, save_every_s=600.0),
        Budget("100M", 100_000_000, max_pairs=6, confirm_pairs=3, audit_cuts=1_024, save_every_s=600.0),
        Budget("1B", 1_000_000_000, max_pairs=4, confirm_pairs=2, audit_cuts=1_024, save_every_s=600.0),
    )
}


@dataclass(frozen=True, kw_only=True)
class Track:
    """One race: a preset of the core, the data it is trained on and how the result is scored."""

    name: str
    summary: str  # one line for `blueberry tracks`
    module: str  # module of model_core that holds PRESETS
    model: str  # class in that module
    preset: str  # key of PRESETS
    core_files: tuple[str, ...]  # files of model_core that this track runs; their digest is the track's core id
    source: str  # default data source, see harness/data/sources.py and image_sources.py
    metric: str  # how it is served, scored and audited, see harness/run/measure.py
    unit: str  # of the loss
    score_rows: int = 8  # rows in one scoring batch
    slowest_tokens_per_s: float  # training slower than this is stopped as timed out
    log_ratio: bool = False  # True: pairs are compared by ln(base) - ln(sub), for losses that are not in nats
    full: bool = False  # True: sizes of the full tracks (at least 1M scored tokens)
    audit_tolerance: float = 0.01  # nats that one prediction may differ when it is repeated (benchmarks/tolerances.py)
    embedding_parameters: int = 0  # of the core; a vocabulary is not what the parameter band is about

    @property
    def difference(self) -> str:
        """What differences of losses, and with them gains, are measured in."""
        return "log ratio" if self.log_ratio else "nats"

    def scored_tokens(self, budget: Budget) -> int:
        """How many tokens of the held-out split are scored at this budget."""
        if budget.name == "test":
            return 8_192
        if budget.name == "smoke":
            return 65_536
        return 1_048_576 if self.full else 131_072


@dataclass(frozen=True, kw_only=True)
class TextTrack(Track):
    """A race on text."""

    metric: str = "nll"
    unit: str = "nats per token"
    tokenizer: str  # "train" (a BPE of `vocab_size` learnt from the train split) or the name of a published one
    vocab_size: int
    row_tokens: int  # length of a scored row: predictions per row, whatever context the core trains with


@dataclass(frozen=True, kw_only=True)
class ImageTrack(Track):
    """A race on images. A token is one of the `image_tokens` patches or codes that the track counts in an image."""

    channels: int
    size: int  # pixels of a side
    image_tokens: int
    augment: bool = False  # shifts and turns drawn from the seed, so that a small set is a large one
    n_classes: int = 0  # that a flow model is told of
    n_codes: int = 0  # how many different ones a visual tokenizer may use
    unit: str = "mean squared error"
    audit_tolerance: float = 0.02  # of the mean error
    log_ratio: bool = True


@dataclass(frozen=True, kw_only=True)
class CaptionTrack(Track):
    """A race on images with captions, in one stream of tokens (harness/data/captions.py has its layout)."""

    metric: str = "captions"
    unit: str = "nats per token"
    tokenizer: str  # "words" (one for each word of the captions) or the name of a published one
    text_vocab: int
    templates: tuple[str, ...]  # of captions, {} is the name of the class; the first is what classes are drawn with
    visual: str  # the track whose frozen tokenizer turns images into codes
    channels: int
    size: int  # pixels of a side
    image_tokens: int  # codes of an image
    n_codes: int
    row_tokens: int  # that the track counts for an image with its caption, whatever the caption
    copies: int = 1  # of each image, all but the first shifted and turned a little

    @property
    def vocab_size(self) -> int:
        """Text, two markers and codes."""
        return self.text_vocab + 2 + self.n_codes


_LM_FILES = ("__init__.py", "layers.py", "lm.py", "muon.py", "train.py")

_FLOW_FILES = ("__init__.py", "flow.py", "layers.py", "muon.py", "train.py")
_MULTIMODAL_FILES = (*_LM_FILES, "multimodal.py", "sample.py")

_VQVAE_FILES = ("__init__.py", "layers.py", "muon.py", "train.py", "vqvae.py")

TRACKS: dict[str, Track] = {
    track.name: track
    for track in (
        TextTrack(
            name="llm-tiny",
            summary="2.5M-parameter language model on documentation prose; trains on a laptop CPU",
            module="lm",
            model="LM",
            preset="tiny",
            core_files=_LM_FILES,
            source="pydocs",
            tokenizer="train",
            vocab_size=4_096,
            embedding_parameters=4_096 * 192,
            row_tokens=256,
            slowest_tokens_per_s=500.0,
        ),
        TextTrack(
            name="llm-88m",
            summary="Blueberry-Nano: 88,630,528 parameters, dense",
            module="lm",
            model="LM",
            preset="88m",
            core_files=_LM_FILES,
            source="hub",
            tokenizer="HuggingFaceTB/SmolLM2-135M",
            vocab_size=49_152,
            embedding_parameters=49_152 * 512,
            row_tokens=2_048,
            slowest_tokens_per_s=2_000.0,
            full=True,
        ),
        TextTrack(
            name="llm-151m",
            summary="151,032,320 parameters, dense, SwiGLU, 32 layers",
            module="lm",
            model="LM",
            preset="151m",
            core_files=_LM_FILES,
            source="hub",
            tokenizer="HuggingFaceTB/SmolLM2-135M",
            vocab_size=49_152,
            embedding_parameters=49_152 * 512,
            row_tokens=2_048,
            slowest_tokens_per_s=2_000.0,
            full=True,
        ),
        TextTrack(
            name="llm-moe",
            summary="167,814,656 parameters, 67,151,360 active; 8 experts, top 2",
            module="moe",
            model="MoELM",
            preset="moe",
            core_files=(*_LM_FILES, "moe.py"),
            source="hub",
            tokenizer="HuggingFaceTB/SmolLM2-135M",
            vocab_size=49_152,
            embedding_parameters=49_152 * 512,
            row_tokens=1_024,
            slowest_tokens_per_s=2_000.0,
            full=True,
        ),
        ImageTrack(
            name="flow-tiny",
            summary="1.2M-parameter flow matching transformer on handwritten digits; trains on a laptop CPU",
            module="flow",
            model="DiT",
            preset="tiny",
            core_files=_FLOW_FILES,
            source="digits",
            metric="velocity",
            channels=1,
            size=16,
            augment=True,
            n_classes=10,
            image_tokens=64,
            score_rows=64,
            slowest_tokens_per_s=500.0,
        ),
        ImageTrack(
            name="flow-48m",
            summary="48,155,916-parameter flow matching transformer on CIFAR-10",
            module="flow",
            model="DiT",
            preset="48m",
            core_files=_FLOW_FILES,
            source="cifar10",
            metric="velocity",
            channels=3,
            size=32,
            n_classes=10,
            image_tokens=256,
            score_rows=64,
            slowest_tokens_per_s=2_000.0,
            full=True,
        ),
        ImageTrack(
            name="vqvae-tiny",
            summary="visual tokenizer of handwritten digits, 16 codes an image; trains on a laptop CPU",
            module="vqvae",
            model="VQVAE",
            preset="tiny",
            core_files=_VQVAE_FILES,
            source="digits",
            metric="reconstruction",
            channels=1,
            size=16,
            augment=True,
            image_tokens=16,
            n_codes=128,
            score_rows=64,
            slowest_tokens_per_s=100.0,
        ),
        ImageTrack(
            name="vqvae",
            summary="727,619-parameter visual tokenizer, 128-pixel images to 1,024 codes",
            module="vqvae",
            model="VQVAE",
            preset="full",
            core_files=_VQVAE_FILES,
            source="cifar10",
            metric="reconstruction",
            channels=3,
            size=128,
            image_tokens=1_024,
            n_codes=1_024,
            score_rows=8,
            slowest_tokens_per_s=1_000.0,
            full=True,
        ),
        CaptionTrack(
            name="multimodal-tiny",
            summary="language model of handwritten digits with captions; trains on a laptop CPU",
            module="multimodal",
            model="MultimodalLM",
            preset="tiny",
            core_files=_MULTIMODAL_FILES,
            source="digits",
            tokenizer="words",
            text_vocab=32,
            embedding_parameters=162 * 128,
            templates=(
                "a photo of a {}",
                "{}",
                "the digit {}",
                "this is a handwritten {}",
                "a small picture of the handwritten digit {}",
            ),
            visual="vqvae-tiny",
            channels=1,
            size=16,
            image_tokens=16,
            n_codes=128,
            row_tokens=28,
            copies=36,
            score_rows=64,
            slowest_tokens_per_s=200.0,
        ),
        CaptionTrack(
            name="multimodal-40m",
            summary="40,380,928-parameter language model of captions and 128-pixel images as 1,024 codes",
            module="multimodal",
            model="MultimodalLM",
            preset="40m",
            core_files=_MULTIMODAL_FILES,
            source="cifar10",
            tokenizer="HuggingFaceTB/SmolLM2-135M",
            text_vocab=49_152,
            embedding_parameters=50_178 * 512,
            templates=("a photo of a {}", "A photo of a {}"),
            visual="vqvae",
            channels=3,
            size=128,
            image_tokens=1_024,
            n_codes=1_024,
            row_tokens=1_040,
            score_rows=4,
            slowest_tokens_per_s=2_000.0,
            full=True,
        ),
    )
}


def track_named(name: str) -> Track:
    """The track of that name; raises UsageError that names the known ones."""
    if name not in TRACKS:
        raise UsageError("--track", f"no track {name!r}", "choose one of " + ", ".join(TRACKS))
    return TRACKS[name]


def budget_named(name: str) -> Budget:
    """The budget of that name; raises UsageError that names the known ones."""
    if name not in BUDGETS:
        listed = ", ".join(budget.name for budget in BUDGETS.values() if budget.listed)
        raise UsageError("--budget", f"no budget {name!r}", f"choose one of {listed}")
    return BUDGETS[name]
