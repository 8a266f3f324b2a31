from __future__ import annotations

import pytest

from lowbit.optimizers.native import library


@pytest.fixture(autouse=True)
def _compiler():
    if not library.available():
        pytest.skip("no C++ compiler")
