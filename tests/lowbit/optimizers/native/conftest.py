from __future__ import annotations

import pytest

from lowbit.optimizers.native import library


@pytest.fixture(autouse=True)
def _compiler():
    reason = library.missing()
    if reason is not None:
        pytest.skip(reason)
