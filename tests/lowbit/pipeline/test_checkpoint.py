from __future__ import annotations

import os
import pickle

import pytest
import torch

from lowbit.pipeline import checkpoint
from lowbit.quantization.flow import QuantizationError
from tests.lowbit.pipeline.tiny import Tiny, make, same

IDENTITY = {"model": "tiny", "data": "stripes", "pictures": "abc"}


def saved(path, **more):
    checkpoint.save(path, checkpoint.FLOAT, IDENTITY | more, {"module": make(0).state_dict()})
    return path


def test_what_was_saved_is_read_back(tmp_path):
    path = saved(tmp_path / "new" / "folder" / "float.pt")
    assert same(checkpoint.float_state(path, IDENTITY), make(0).state_dict())
    found = checkpoint.load(path, checkpoint.FLOAT, IDENTITY)
    assert found["identity"] == IDENTITY
    assert [file.name for file in path.parent.iterdir()] == ["float.pt"]


def test_no_file_is_no_checkpoint(tmp_path):
    assert checkpoint.load(tmp_path / "none.pt", checkpoint.RUN, IDENTITY) is None


def test_the_plain_state_of_a_model_is_one_to_start_from(tmp_path):
    torch.save(make(3).state_dict(), tmp_path / "state.pt")
    assert same(checkpoint.float_state(tmp_path / "state.pt", IDENTITY), make(3).state_dict())


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_an_interrupt_while_writing_leaves_the_old_one(tmp_path, monkeypatch, failing):
    path = saved(tmp_path / "float.pt")
    before = path.read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (type(path), "replace")), stop)
    with pytest.raises(KeyboardInterrupt):
        saved(path, model="another")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(QuantizationError, match=r"cannot be written: .*; choose another folder"):
        saved(tmp_path / "file" / "float.pt")


class Evil:
    def __reduce__(self):
        return (print, ("code of a stranger",))


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps(Evil()), pickle.dumps({"a": 1})[:-3]])
def test_another_file_is_refused_and_nothing_of_it_runs(tmp_path, content, capsys):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    for read in (
        lambda: checkpoint.load(path, checkpoint.RUN, IDENTITY),
        lambda: checkpoint.float_state(path, IDENTITY),
    ):
        with pytest.raises(QuantizationError, match="cannot be read as a checkpoint: it is damaged, or another kind"):
            read()
    assert capsys.readouterr().out == ""


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(Tiny(), tmp_path / "model.pt")
    with pytest.raises(QuantizationError, match="cannot be read as a checkpoint"):
        checkpoint.float_state(tmp_path / "model.pt", IDENTITY)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "vit"}, "is a checkpoint of another model: vit there, tiny here"),
        ({"data": "digits"}, "was trained on other data: digits there, stripes here"),
        ({"pictures": "xyz"}, "was trained on other pictures: xyz there, abc here; give the data"),
    ],
)
def test_a_float_checkpoint_of_something_else_is_refused(tmp_path, change, says):
    path = saved(tmp_path / "float.pt", **change)
    with pytest.raises(QuantizationError, match=says):
        checkpoint.float_state(path, IDENTITY)


def test_a_float_checkpoint_must_be_one(tmp_path):
    with pytest.raises(QuantizationError, match="there is no such file"):
        checkpoint.float_state(tmp_path / "none.pt", IDENTITY)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(QuantizationError, match="holds a list; give a float checkpoint"):
        checkpoint.float_state(tmp_path / "list.pt", IDENTITY)
    checkpoint.save(tmp_path / "checkpoint.pt", checkpoint.RUN, IDENTITY, {})
    with pytest.raises(QuantizationError, match=r"is no float checkpoint; float\.pt in the same folder is"):
        checkpoint.float_state(tmp_path / "checkpoint.pt", IDENTITY)


def test_another_format_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path / "float.pt")
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    with pytest.raises(QuantizationError, match="has format 1, this version reads 99"):
        checkpoint.load(path, checkpoint.FLOAT, IDENTITY)


def test_the_state_of_another_model_names_a_difference():
    state = make(0).state_dict() | {"more": torch.zeros(1)}
    with pytest.raises(
        QuantizationError, match=r"x\.pt is a checkpoint of another model than Tiny: Unexpected key.*more"
    ) as raised:
        checkpoint.load_into(Tiny(), state, "x.pt")
    assert "\n" not in str(raised.value)


def test_a_digest_is_that_of_the_bits():
    state = make(0).state_dict()
    assert checkpoint.digest(state) == checkpoint.digest(make(0).state_dict())
    state["stem.weight"][0, 0, 0, 0] += 1e-6
    assert checkpoint.digest(state) != checkpoint.digest(make(0).state_dict())


def test_a_copy_stays_when_the_model_is_trained():
    module = Tiny()
    copy = checkpoint.copied(module.state_dict())
    with torch.no_grad():
        module.stem.weight.zero_()
    assert bool(copy["stem.weight"].any())
