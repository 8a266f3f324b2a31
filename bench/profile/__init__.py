"""Profiling is a mode of its own, never inside a measurement: lines, stacks and traces of a step.

`lines` marks a function of your own code, so that `stepbench profile lines` shows its lines too. Importing this
package imports neither torch nor a profiler.
"""

from __future__ import annotations

from bench.profile.marks import lines

__all__ = ["lines"]
