from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowbit.data.cifar10 import RECORD, cifar10
from lowbit.data.images import NotAnImageSet


def pictures(count, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), generator.integers(0, 10, count)


def records(images, labels):
    return np.concatenate([labels.astype(np.uint8)[:, None], images.reshape(len(images), -1)], axis=1).tobytes()


def normalized(images):
    scaled = torch.from_numpy(images).float() / 255
    return (scaled - scaled.mean()) / scaled.std()


@given(count=st.integers(2, 9), seed=st.integers(0, 99))
def test_what_was_written_in_the_binary_version_is_read_back(tmp_path_factory, count, seed):
    path = tmp_path_factory.mktemp("set") / "data_batch_1.bin"
    images, labels = pictures(count, seed)
    path.write_bytes(records(images, labels))
    for given_path in (path, path.parent):
        found = cifar10(given_path)
        torch.testing.assert_close(found.images, normalized(images), rtol=0, atol=1e-5)
        assert found.labels.tolist() == labels.tolist()


def test_the_files_of_a_folder_are_joined(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"data_batch_{number}.bin").write_bytes(records(*pictures(3, number)))
    (folder / "test_batch.bin").write_bytes(records(*pictures(5)))
    assert len(cifar10(folder).labels) == len(cifar10(tmp_path).labels) == 6


@pytest.mark.parametrize("names", [("train_images", "train_labels"), ("images", "labels"), ("x_train", "y_train")])
@pytest.mark.parametrize("last", [False, True])
def test_an_archive_is_read_under_its_usual_names_and_layouts(tmp_path, names, last):
    images, labels = pictures(4)
    stored = images.transpose(0, 2, 3, 1) if last else images
    path = tmp_path / "set.npz"
    np.savez(path, **{names[0]: stored, names[1]: labels[:, None] if last else labels})
    torch.testing.assert_close(cifar10(path).images, normalized(images), rtol=0, atol=1e-5)


IMAGES, LABELS = pictures(4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"pixels": IMAGES, "labels": LABELS}, "holds pixels, labels; it must hold train_images and train_labels or"),
        ({"images": IMAGES}, "it must hold"),
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, r"images of float32\[4, 3, 32, 32\]"),
        ({"images": IMAGES[:, :, :16], "labels": LABELS}, r"\[4, 3, 16, 32\]; they must be uint8"),
        ({"images": IMAGES, "labels": LABELS[:3]}, r"4 images and labels of int64\[3\]"),
        ({"images": IMAGES, "labels": LABELS + 10}, "labels from 1"),
        ({"images": IMAGES, "labels": LABELS - 10}, "they must be 0..9"),
        (
            {"images": IMAGES, "labels": LABELS.astype(object)},
            "no .npz of plain arrays: Object arrays cannot be loaded",
        ),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "0 images"),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, "labels of float64"),
        ({"images": IMAGES, "labels": LABELS[0]}, r"labels of int64\[\]"),
    ],
)
def test_an_archive_of_something_else_says_what_it_holds(tmp_path, content, says):
    path = tmp_path / "set.npz"
    np.savez(path, **content)
    with pytest.raises(NotAnImageSet, match=says) as raised:
        cifar10(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("short.bin", b"\0" * (RECORD - 1), f"has {RECORD - 1} bytes; a CIFAR-10 file is a whole number of {RECORD}"),
        ("empty.bin", b"", "has 0 bytes"),
        ("text.npz", b"hello", "no .npz of plain arrays"),
        ("notes.txt", b"hello", "is neither a folder nor"),
        ("label.bin", b"\x0b" + b"\0" * (RECORD - 1), "labels from 11 to 11"),
    ],
)
def test_a_file_of_something_else_says_what_it_is(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotAnImageSet, match=says):
        cifar10(tmp_path / name)


def test_an_archive_of_other_files_is_told_from_one_of_arrays(tmp_path):
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images", b"hello")
        archive.writestr("labels", b"hello")
    with pytest.raises(NotAnImageSet, match=r"images of \|S5\[\]"):
        cifar10(path)


@pytest.mark.parametrize("name", ["missing", "missing.bin", "missing.npz"])
def test_a_missing_path_says_so(tmp_path, name):
    with pytest.raises(NotAnImageSet, match=f"{name} does not exist; give the folder"):
        cifar10(tmp_path / name)


def test_a_folder_without_the_files_says_which_it_lacks(tmp_path):
    with pytest.raises(NotAnImageSet, match=r"holds no data_batch_\*.bin"):
        cifar10(tmp_path)
