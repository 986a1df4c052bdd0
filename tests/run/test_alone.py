from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.run.alone import alone


def test_a_second_training_waits_for_the_first_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said: list[str] = []
    waits, order = threading.Event(), []

    def note(text: str) -> None:
        said.append(text)
        waits.set()

    def second() -> None:
        with alone(note):
            order.append("second")

    with alone(said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert said[0].endswith("waiting for it")
