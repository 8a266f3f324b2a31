"""The origin of what another tool has measured."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which tool measured a record, what that tool calls it, and from which file it was read.

    `tool` and `release` (of the tool, or of its file's layout) are what the file says of itself; `sha256` is that of
    the file. `benchmark` is the tool's whole name for what was measured, `parameters` the text of each value by name,
    and `version` the tool's mark of the benchmark's code: values of another one are those of another benchmark.
    `environment` is the tool's name for where it ran. `unit` is that of the value `tracked`, where there is one;
    `committed` when the commit was made, UTC in ISO 8601. `own` is a benchmark that says which variant of ours it
    measures; the variant of any other only stands for it.
    """

    tool: str
    release: str
    file: str
    sha256: str
    benchmark: str
    parameters: dict[str, str] = field(default_factory=dict)
    version: str = ""
    environment: str = ""
    unit: str | None = None
    committed: str | None = None
    own: bool = False

    def __str__(self) -> str:
        """Returns the benchmark as a person knows it: with its parameters, where the name does not hold them."""
        if not self.parameters or self.benchmark.endswith("]"):
            return self.benchmark
        return f"{self.benchmark}({', '.join(self.parameters.values())})"
