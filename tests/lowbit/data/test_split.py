from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowbit.data.images import NotAnImageSet
from lowbit.data.split import cifar10_at, digits, stratified
from tests.lowbit.data.test_cifar10 import pictures, records


@given(
    counts=st.lists(st.integers(0, 30), min_size=10, max_size=10).filter(lambda counts: sum(counts) > 1),
    part=st.floats(0.05, 0.9),
    seed=st.integers(0, 9),
)
def test_the_parts_are_disjoint_whole_and_have_each_class_in_its_share(counts, part, seed):
    labels = torch.arange(10).repeat_interleave(torch.tensor(counts))
    for_test = round(part * len(labels))
    train, test = stratified(labels, for_test, seed)
    assert len(test) == for_test
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(labels)))
    found = torch.bincount(labels[test], minlength=10)
    expected = for_test * torch.tensor(counts) / len(labels)
    assert bool(((found - expected).abs() < 1).all())


def test_a_seed_gives_the_same_parts_and_another_seed_others():
    first, again, other = digits(1), digits(1), digits(2)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert torch.equal(first.test.images, again.test.images)


def test_the_digits_have_1347_pictures_to_train_on_and_450_to_test():
    found = digits()
    assert found.description == "digits, 1,347 training and 450 test images"
    assert (len(found.train.images), len(found.test.images)) == (1347, 450)
    assert abs(float(found.train.images.mean())) < 1e-4
    assert abs(float(found.train.images.std()) - 1) < 1e-4
    assert torch.bincount(found.test.labels).tolist() == pytest.approx([45] * 10, abs=2)


@pytest.mark.parametrize("form", [{"camera": True}, {"yuv": True}, {"camera": True, "yuv": True}])
def test_pictures_of_a_camera_are_multiples_of_its_scale(form):
    found = digits(**form)
    codes = found.test.images * 128
    assert torch.equal(codes, codes.round())
    assert (int(codes.min()), int(codes.max())) == ((-128, 127))
    assert "centred " in found.description
    # Digits are gray: their color is zero.
    assert bool((found.test.images[:, 1:] == 0).all()) == ("yuv" in form)


def test_an_archive_with_a_test_part_keeps_it(tmp_path):
    (images, labels), (others, answers) = pictures(8), pictures(3, seed=1)
    path = tmp_path / "set.npz"
    np.savez(path, train_images=images, train_labels=labels, test_images=others, test_labels=answers)
    found = cifar10_at(path, camera=True)
    assert found.name == "cifar-10 subset of 11 images, centred RGB"
    assert str(tmp_path) not in found.description
    assert torch.equal(found.test.images * 128 + 128, torch.from_numpy(others).float())
    assert found.test.labels.tolist() == answers.tolist()
    assert found.fingerprint() == cifar10_at(path, seed=1, camera=True).fingerprint()


def test_a_folder_with_a_test_batch_keeps_it(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(records(*pictures(6)))
    images, labels = pictures(4, seed=1)
    (folder / "test_batch.bin").write_bytes(records(images, labels))
    for path in (folder, tmp_path):
        found = cifar10_at(path, yuv=True)
        assert len(found.train.labels) == 6
        assert found.test.labels.tolist() == labels.tolist()


def test_one_without_a_test_part_is_split_by_the_seed(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(records(*pictures(40)))
    found = cifar10_at(path, seed=3)
    assert (len(found.train.labels), len(found.test.labels)) == (30, 10)
    assert found.fingerprint() != cifar10_at(path, seed=4).fingerprint()


def test_a_single_picture_cannot_be_split(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(records(*pictures(1)))
    with pytest.raises(NotAnImageSet, match="holds 1 picture; a training and a test part need one each"):
        cifar10_at(path)


def test_both_parts_are_normalized_by_the_training_part(tmp_path):
    """A brighter test part stays brighter: nothing of it decides how it is seen."""
    (dark, labels), (bright, answers) = pictures(8), pictures(3, seed=1)
    path = tmp_path / "set.npz"
    np.savez(path, x_train=dark // 2, y_train=labels, x_test=bright // 2 + 128, y_test=answers)
    found = cifar10_at(path)
    assert abs(float(found.train.images.mean())) < 1e-4
    assert float(found.test.images.mean()) > 3
