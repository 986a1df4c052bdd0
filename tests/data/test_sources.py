import pytest

from harness.data.pydocs import PACKAGES
from harness.data.sources import find_source
from harness.errors import UsageError
from harness.tracks import TRACKS

TINY, FULL = TRACKS["llm-tiny"], TRACKS["llm-88m"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_tiny_track_reads_embedded_text_by_default_and_by_name():
    default = find_source(TINY, None)
    assert default.name == "pydocs"
    assert default.identity == find_source(TINY, "embedded").identity
    assert [package for package, version in default.identity[1:]] == list(PACKAGES)


def test_the_full_tracks_have_no_embedded_text():
    with pytest.raises(UsageError, match="SmolLM2-135M, which is not embedded"):
        find_source(FULL, "embedded")


@pytest.mark.parametrize("data", [None, "hub", "hub:some/set", "hub:some/set@main", f"hub:some/set@{COMMIT[:39]}"])
def test_the_hub_is_read_at_a_named_commit_only(data):
    with pytest.raises(UsageError, match=r"no commit is named.*\n.*@COMMIT"):
        find_source(FULL, data)


def test_a_commit_is_part_of_the_name_and_of_the_identity():
    source = find_source(FULL, f"hub:some/set@{COMMIT}")
    assert source.name == f"hub:some/set@{COMMIT}"
    assert COMMIT in source.identity


@pytest.mark.parametrize("data", ["nonsense", "files", "files:", "embedded:x", "http://somewhere"])
def test_an_unknown_source_is_refused_with_the_known_ones(data):
    with pytest.raises(UsageError, match="choose embedded, files:PATH or hub:NAME@COMMIT"):
        find_source(TINY, data)


def test_a_missing_path_or_tokenizer_is_named(parquet, tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        find_source(TINY, f"files:{tmp_path / 'absent'}")
    file = parquet(tmp_path / "set.parquet", text=["a"])
    with pytest.raises(UsageError, match="absent: no such file"):
        find_source(TINY, f"files:{file}?tokenizer={tmp_path / 'absent'}")


@pytest.mark.parametrize("place", ["set/tokenizer.json", "set/tokenizer/tokenizer.json", "tokenizer/tokenizer.json"])
def test_a_published_tokenizer_is_found_beside_the_files(parquet, tmp_path, place):
    file = parquet(tmp_path / "set" / "train.parquet", text=["a"])
    tokenizer = tmp_path / place
    tokenizer.parent.mkdir(exist_ok=True)
    tokenizer.write_text("{}")
    assert find_source(FULL, f"files:{tmp_path / 'set'}").tokenizer == tokenizer
    assert find_source(FULL, f"files:{file}").tokenizer == tokenizer
    assert find_source(TINY, f"files:{file}").tokenizer is None  # learns its own
    assert find_source(TINY, f"files:{file}?tokenizer={tokenizer.parent}").tokenizer == tokenizer


def test_the_identity_changes_with_the_files_and_the_tokenizer(parquet, tmp_path):
    file = parquet(tmp_path / "train.parquet", text=["a"])
    tokenizer = tmp_path / "vocabulary.json"
    tokenizer.write_text("{}")
    plain = find_source(TINY, f"files:{file}").identity
    assert plain == find_source(TINY, f"files:{tmp_path}").identity
    assert plain != find_source(TINY, f"files:{file}?tokenizer={tokenizer}").identity
    parquet(file, text=["another text"])
    assert plain != find_source(TINY, f"files:{file}").identity
