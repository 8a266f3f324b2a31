"""CIFAR-10 (Krizhevsky 2009) from files: the binary version, or arrays in an .npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lowbit.data.images import CLASSES, ImageSet, NotAnImageSet

# A record of the binary version: one byte of label, then 3x32x32 bytes of pixels, channel by channel.
PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS
Keys = tuple[tuple[str, str], ...]
KEYS: Keys = (("train_images", "train_labels"), ("images", "labels"), ("x_train", "y_train"))
TEST_KEYS: Keys = (("test_images", "test_labels"), ("x_test", "y_test"))
TRAINING_FILES, TEST_FILES = "data_batch_*.bin", "test_batch.bin"
ALLOWED = "give the folder of CIFAR-10's binary version (data_batch_*.bin), one such .bin file, or an .npz of arrays"

Array = npt.NDArray[np.uint8]


def cifar10(path: str | Path) -> ImageSet:
    """Reads the training pictures at a path.

    Raises NotAnImageSet for a path that is missing, unreadable or holds something else.
    """
    return ImageSet.from_bytes(*training_bytes(path))


def training_bytes(path: str | Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the training pictures at a path, uint8 [count, 3, 32, 32], and their labels, int64.

    Raises NotAnImageSet for a path that is missing, unreadable or holds something else.
    """
    return _tensors(Path(path), TRAINING_FILES, KEYS)


def evaluation_bytes(path: str | Path) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Returns the test pictures at a path like the training ones, or None where it holds no test part.

    That of a folder is its test_batch.bin, that of an archive its test_images and test_labels, or x_test and y_test.
    """
    path = Path(path)
    if path.is_dir() and _files(path, TEST_FILES):
        return _tensors(path, TEST_FILES, ())
    if path.suffix == ".npz" and any(set(pair) <= set(_members(path, TEST_KEYS)) for pair in TEST_KEYS):
        return _tensors(path, "", TEST_KEYS)
    return None


def _tensors(path: Path, pattern: str, keys: Keys) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        if not path.exists():
            raise NotAnImageSet(f"{path} does not exist; {ALLOWED}")
        if path.is_dir():
            images, labels = _folder(path, pattern)
        elif path.suffix == ".npz":
            images, labels = _archive(path, keys)
        elif path.suffix == ".bin":
            images, labels = _binary(path)
        else:
            raise NotAnImageSet(f"{path} is neither a folder nor a .bin or .npz file; {ALLOWED}")
    except OSError as error:
        raise NotAnImageSet(f"{path} cannot be read: {error.strerror or error}; {ALLOWED}") from error
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < CLASSES:
        raise NotAnImageSet(f"{path} has labels from {labels.min()} to {labels.max()}; they must be 0..{CLASSES - 1}")
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def _files(path: Path, pattern: str) -> list[Path]:
    return sorted(path.glob(pattern)) or sorted(path.glob(f"cifar-10-batches-bin/{pattern}"))


def _folder(path: Path, pattern: str) -> tuple[Array, npt.NDArray[np.integer]]:
    files = _files(path, pattern)
    if not files:
        raise NotAnImageSet(f"{path} holds no {pattern}; {ALLOWED}")
    parts = [_binary(file) for file in files]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _binary(path: Path) -> tuple[Array, npt.NDArray[np.integer]]:
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if data.size == 0 or data.size % RECORD:
        raise NotAnImageSet(f"{path} has {data.size} bytes; a CIFAR-10 file is a whole number of {RECORD}-byte records")
    records = data.reshape(-1, RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _archive(path: Path, keys: Keys) -> tuple[Array, npt.NDArray[np.integer]]:
    found = _members(path, keys)
    pair = next((pair for pair in keys if set(pair) <= set(found)), None)
    if pair is None:
        wanted = " or ".join(" and ".join(pair) for pair in keys)
        raise NotAnImageSet(f"{path} holds {', '.join(found) or 'nothing'}; it must hold {wanted}")
    images, labels = (found[name] for name in pair)
    if images.dtype != np.uint8 or images.ndim != 4 or (3, 32, 32) not in {images.shape[1:], images.shape[:0:-1]}:
        raise NotAnImageSet(
            f"{path} has images of {images.dtype}{list(images.shape)}; they must be uint8 [count, 3, 32, 32] "
            "or [count, 32, 32, 3]"
        )
    if images.shape[1:] == (32, 32, 3):
        images = images.transpose(0, 3, 1, 2)
    labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[-1] == 1 else labels
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) != len(images) or not len(labels):
        raise NotAnImageSet(
            f"{path} has {len(images)} images and labels of {labels.dtype}{list(labels.shape)}; "
            "each image needs one whole-number label"
        )
    return np.ascontiguousarray(images), labels


def _members(path: Path, keys: Keys) -> dict[str, npt.NDArray[Any]]:
    """Returns the arrays of some names, and an empty one for every other member of an archive."""
    wanted = {name for pair in keys for name in pair}
    try:
        with np.load(path, allow_pickle=False) as archive:
            # numpy hands out a member that is no array as bytes; as an array of text it fails the checks of its form.
            return {name: np.asarray(archive[name]) if name in wanted else np.empty(0) for name in archive.files}
    except OSError:
        raise
    except Exception as error:
        # numpy raises ValueError, zipfile.BadZipFile, zlib.error, ... for an archive that is none.
        reason = str(error).partition("\n")[0]
        raise NotAnImageSet(f"{path} is no .npz of plain arrays: {reason}; {ALLOWED}") from error
