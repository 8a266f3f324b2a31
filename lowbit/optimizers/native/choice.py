"""Whether an optimizer steps in C++, and what its rows have to say of that."""

from __future__ import annotations

import collections
from typing import Any

from lowbit.optimizers.native import library
from lowbit.optimizers.native.descent import Descent
from lowbit.optimizers.native.layout import plain


class MayCompile:
    """Gives an optimizer its argument `compiled`: True, False, or None for "where there is a compiler"."""

    param_groups: list[dict[str, Any]]
    compiled = False
    _asked: bool | None = False

    def choose(self, *, compiled: bool | str | None) -> None:
        """Sets `compiled`; raises CannotCompile where it is True and that is not possible, ValueError for another."""
        if not (compiled is None or isinstance(compiled, bool)):
            raise ValueError(f"compiled={compiled!r}: {type(self).__name__} takes True, False or None")
        if compiled:
            library.load()
        self._descents: dict[int, Descent] = collections.defaultdict(Descent)
        self._asked, self.compiled = compiled, library.missing() is None if compiled is None else compiled

    def descent(self, group: int) -> Descent | None:
        """Returns what descends along the parameters of a group in C++, None where torch's operations do."""
        return self._descents[group] if self.compiled else None

    @property
    def remarks(self) -> dict[str, str]:
        """What stands below the rows of this optimizer, by a word for it."""
        if self._asked is False or not any(plain(p) for group in self.param_groups for p in group["params"]):
            return {}
        if self.compiled:
            return {"native-code": "the step runs C++ of its own, of which operations and FLOPs are not counted"}
        return {"no-compiler": f"the step is made of torch's operations, which takes longer: {library.missing()}"}
