import inspect
import json.decoder
import random

import pytest

from harness.data import pydocs
from harness.errors import MachineError


@pytest.fixture(scope="module")
def small():
    """The two smallest packages, read for real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydocs, "PACKAGES", ("datasets", "huggingface_hub"))
        yield pydocs.read()


@pytest.mark.parametrize("module", [json.decoder, random])
def test_docstrings_are_those_that_inspect_finds(module):
    found = pydocs.docstrings_of(inspect.getsource(module))
    own = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
    classes = [each for each in own if inspect.isclass(each)]
    functions = [each for each in own if inspect.isfunction(each)]
    methods = [member for each in classes for member in vars(each).values() if inspect.isfunction(member)]
    documented = [each for each in (module, *classes, *functions, *methods) if each.__doc__]
    expected = {inspect.cleandoc(each.__doc__) for each in documented}
    assert expected <= set(found) and len(expected) > 3


def test_nested_and_conditional_definitions_are_found_in_source_order():
    source = '''
"""Module."""
try:
    import fast
except ImportError:
    def slow():
        "Slow."
if fast:
    class A:
        """A.

            Indented.
        """
        async def b(self):
            "B."
            def c(): "C."
def bare(): "\\d"
def empty(): pass
'''
    assert pydocs.docstrings_of(source) == ["Module.", "Slow.", "A.\n\nIndented.", "B.", "C.", "\\d"]


def test_no_docstring_of_train_recurs_in_a_held_out_split(monkeypatch):
    sources = [
        (f"package/module_{number}.py", ["Licensed.", f"Module {number}.", "Licensed."]) for number in range(300)
    ]
    monkeypatch.setattr(pydocs, "PACKAGES", ("package",))
    monkeypatch.setattr(pydocs, "_modules", lambda package: iter(sources))
    read = pydocs.read()
    texts = [text for documents in read.splits.values() for document in documents for text in document.split("\n\n")]
    assert sorted(texts) == sorted(["Licensed.", *(f"Module {number}." for number in range(300))])
    assert any("Licensed." in document for document in read.splits["train"])
    assert read.duplicates == 599


def test_each_split_of_the_real_packages_has_its_share(small):
    sizes = {split: sum(map(len, documents)) for split, documents in small.splits.items()}
    assert sizes["train"] > 800_000 and min(sizes.values()) > 20_000
    assert small.duplicates > 0


def test_no_held_out_document_shares_a_tenth_of_its_shingles_with_train(small):
    def windows(text):
        words = text.split()
        return [tuple(words[start : start + 13]) for start in range(len(words) - 12)]

    train = {window for document in small.splits["train"] for window in windows(document)}
    for split in ("validation", "test"):
        for document in small.splits[split]:
            shared = [window in train for window in windows(document)]
            assert sum(shared) <= 0.1 * len(shared)
    assert small.dropped > 0


def test_the_split_follows_from_the_path_alone():
    splits = [pydocs.split_of(f"package/module_{number}.py") for number in range(4000)]
    assert splits[:3] == [pydocs.split_of(f"package/module_{number}.py") for number in range(3)]
    assert all(0.055 < splits.count(split) / 4000 < 0.085 for split in ("validation", "test"))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(pydocs, "PACKAGES", ("scipy", "no-such-package"))
    with pytest.raises(MachineError, match="no-such-package is not installed"):
        pydocs.versions()
