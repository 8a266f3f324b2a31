"""CIFAR-10 (Krizhevsky 2009) from files: the binary version, or arrays in an .npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lowbit.data.images import CLASSES, ImageSet, NotAnImageSet

# A record of the binary version: one byte of label, then 3x32x32 bytes of pixels, channel by channel.
PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS
KEYS = (("train_images", "train_labels"), ("images", "labels"), ("x_train", "y_train"))
ALLOWED = "give the folder of CIFAR-10's binary version (data_batch_*.bin), one such .bin file, or an .npz of arrays"

Array = npt.NDArray[np.uint8]


def cifar10(path: str | Path) -> ImageSet:
    """Reads the training pictures at a path.

    Raises NotAnImageSet for a path that is missing, unreadable or holds something else.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise NotAnImageSet(f"{path} does not exist; {ALLOWED}")
        if path.is_dir():
            images, labels = _folder(path)
        elif path.suffix == ".npz":
            images, labels = _archive(path)
        elif path.suffix == ".bin":
            images, labels = _binary(path)
        else:
            raise NotAnImageSet(f"{path} is neither a folder nor a .bin or .npz file; {ALLOWED}")
    except OSError as error:
        raise NotAnImageSet(f"{path} cannot be read: {error.strerror or error}; {ALLOWED}") from error
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < CLASSES:
        raise NotAnImageSet(f"{path} has labels from {labels.min()} to {labels.max()}; they must be 0..{CLASSES - 1}")
    return ImageSet.from_bytes(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _folder(path: Path) -> tuple[Array, npt.NDArray[np.integer]]:
    files = sorted(path.glob("data_batch_*.bin")) or sorted(path.glob("cifar-10-batches-bin/data_batch_*.bin"))
    if not files:
        raise NotAnImageSet(f"{path} holds no data_batch_*.bin; {ALLOWED}")
    parts = [_binary(file) for file in files]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _binary(path: Path) -> tuple[Array, npt.NDArray[np.integer]]:
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if data.size == 0 or data.size % RECORD:
        raise NotAnImageSet(f"{path} has {data.size} bytes; a CIFAR-10 file is a whole number of {RECORD}-byte records")
    records = data.reshape(-1, RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _archive(path: Path) -> tuple[Array, npt.NDArray[np.integer]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            # numpy hands out a member that is no array as bytes; as an array of text it fails the checks below.
            found = {name: np.asarray(archive[name]) for pair in KEYS for name in pair if name in archive.files}
            names = ", ".join(archive.files) or "nothing"
    except OSError:
        raise
    except Exception as error:
        # numpy raises ValueError, zipfile.BadZipFile, zlib.error, ... for an archive that is none.
        reason = str(error).partition("\n")[0]
        raise NotAnImageSet(f"{path} is no .npz of plain arrays: {reason}; {ALLOWED}") from error
    pair = next((pair for pair in KEYS if set(pair) <= set(found)), None)
    if pair is None:
        wanted = " or ".join(" and ".join(pair) for pair in KEYS)
        raise NotAnImageSet(f"{path} holds {names}; it must hold {wanted}")
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
