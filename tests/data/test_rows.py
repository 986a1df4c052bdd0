import http.server
import socket
import threading
import time

import numpy as np
import pytest

from harness.data import parquet
from harness.data.parquet import local_files
from harness.data.rows import dataset_corpus, hub_corpus, local_corpus
from harness.errors import MachineError, UsageError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def server():
    """An HTTP server that knows no dataset."""
    server = http.server.HTTPServer(("127.0.0.1", 0), type("Nothing", (http.server.BaseHTTPRequestHandler,), {}))
    server.RequestHandlerClass.do_GET = lambda handler: handler.send_error(404)
    server.RequestHandlerClass.log_message = lambda *arguments: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_folder_is_read_by_the_names_of_its_files(parquet, tmp_path):
    parquet(tmp_path / "train-00001.parquet", text=["c"])
    parquet(tmp_path / "train-00000.parquet", text=["a", "b"])
    parquet(tmp_path / "validation.parquet", text=["v"])
    parquet(tmp_path / "test.parquet", text=["t"])
    corpus = local_corpus(tmp_path)
    assert {split: list(corpus.documents(split)) for split in ("train", "validation", "test")} == {
        "train": ["a", "b", "c"],
        "validation": ["v"],
        "test": ["t"],
    }


def test_other_names_and_single_files_are_one_unsplit_set(parquet, tmp_path):
    parquet(tmp_path / "part-1.parquet", text=["a"])
    single = parquet(tmp_path / "part-0.parquet", text=["b"])
    assert [file.name for file in local_files(tmp_path)["train"]] == ["part-0.parquet", "part-1.parquet"]
    assert local_files(single) == {"train": [single]}


def test_more_rows_than_a_batch_arrive_in_order_and_empty_ones_are_skipped(parquet, tmp_path, texts):
    documents = texts(1000)
    file = parquet(tmp_path / "set.parquet", text=[*documents[:500], "", None, *documents[500:]])
    assert list(local_corpus(file).documents("train")) == documents


def test_token_ids_arrive_as_arrays(parquet, tmp_path):
    ids = [[1, 2, 3], [], [65_535], None]
    file = parquet(tmp_path / "set.parquet", input_ids=ids, labels=ids)
    assert [row.tolist() for row in local_corpus(file).documents("train")] == [[1, 2, 3], [65_535]]
    assert all(isinstance(row, np.ndarray) for row in local_corpus(file).documents("train"))


def test_a_dataset_by_name_gives_what_its_files_give(parquet, tmp_path, texts):
    parquet(tmp_path / "set" / "train-00000-of-00001.parquet", text=texts(50))
    parquet(tmp_path / "set" / "test-00000-of-00001.parquet", text=texts(10, seed=1))
    named, local = dataset_corpus(str(tmp_path / "set")), local_corpus(tmp_path / "set")
    for split in ("train", "validation", "test"):
        assert list(named.documents(split)) == list(local.documents(split)), split


def test_a_dataset_without_train_split_is_refused(parquet, tmp_path):
    parquet(tmp_path / "set" / "test-00000-of-00001.parquet", text=["a"])
    with pytest.raises(UsageError, match="has no train split"):
        dataset_corpus(str(tmp_path / "set"))


@pytest.mark.parametrize("content", [b"", b"PAR1 but nothing of the kind"])
def test_a_file_that_is_no_parquet_gets_one_message(tmp_path, content, capfd):
    (tmp_path / "set.parquet").write_bytes(content)
    with pytest.raises(UsageError, match=r"set.parquet: cannot be read: .*\n.*parquet files with a column text"):
        list(local_corpus(tmp_path / "set.parquet").documents("train"))
    assert capfd.readouterr() == ("", "")


def test_a_parquet_file_cut_short_is_refused(parquet, tmp_path, texts):
    file = parquet(tmp_path / "set.parquet", text=texts(500))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UsageError, match="cannot be read"):
        list(local_corpus(file).documents("train"))


def test_a_damaged_page_is_refused(parquet, tmp_path, texts):
    file = parquet(tmp_path / "set.parquet", text=texts(500))
    content = bytearray(file.read_bytes())
    content[4:2000] = b"\xff" * 1996
    file.write_bytes(content)
    with pytest.raises((UsageError, MachineError), match="--data"):
        list(local_corpus(file).documents("train"))


def test_missing_columns_are_named(parquet, tmp_path):
    file = parquet(tmp_path / "set.parquet", body=["a"], label=[1])
    with pytest.raises(UsageError, match=r"no column text or input_ids, only \['body', 'label'\]"):
        list(local_corpus(file).documents("train"))


def test_a_folder_without_parquet_or_without_train_files_is_refused(parquet, tmp_path):
    with pytest.raises(UsageError, match="no parquet file there"):
        local_corpus(tmp_path)
    parquet(tmp_path / "test.parquet", text=["a"])
    with pytest.raises(UsageError, match="no file there is named train"):
        local_corpus(tmp_path)


def test_without_a_network_the_hub_is_given_up_at_once(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(parquet, "HUB", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(MachineError, match=r"cannot be reached.*\n.*files:PATH"):
            hub_corpus("some/set", COMMIT)


def test_a_hub_that_does_not_answer_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr(parquet, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(parquet, "HUB", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(MachineError, match="timed out"):
            hub_corpus("some/set", COMMIT)
    assert time.monotonic() - started < 3


def test_an_unknown_dataset_or_commit_is_the_callers_mistake(monkeypatch, server):
    monkeypatch.setattr(parquet, "HUB", server)
    with pytest.raises(UsageError, match=r"404 Not Found: no such public dataset or commit"):
        hub_corpus("some/set", COMMIT)
