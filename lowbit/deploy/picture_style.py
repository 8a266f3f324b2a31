"""Colours and letters of pictures, on light paper and on dark."""

from __future__ import annotations

MARGIN = 24.0
# The classes of colours by what a dtype's name begins with.
_CLASSES = (("float32", "full"), ("float64", "full"), ("bfloat16", "half"), ("float16", "half"))
_INTEGERS = ("int8", "uint8", "qint8", "quint8", "int16", "int32", "qint32")
# What a legend calls them.
NAMES = {"full": "float", "half": "half float", "integer": "integers", "mixed": "integer weights, float arithmetic",
         "other": "other dtypes"}  # fmt: skip

STYLE = """
.model-graph { --paper:#ffffff; --ink:#1f2328; --muted:#59636e; --line:#8c959f; --box:#ffffff; --full:#3b7dd8;
  --half:#1b9aaa; --integer:#2a9d4e; --mixed:#8456ce; --other:#8c959f; --hot:#e8590c; --rim:#2a9d4e;
  --region:#eef8f1; font:600 12px system-ui,-apple-system,"Segoe UI",sans-serif; }
@media (prefers-color-scheme: dark) { .model-graph { --paper:#0d1117; --ink:#e6edf3; --muted:#9aa4af;
  --line:#6e7781; --box:#161b22; --full:#6cb0ff; --half:#4fd1dc; --integer:#4ac26b; --mixed:#b794f6; --other:#8c959f;
  --hot:#ff8a3d; --rim:#4ac26b; --region:#10251a; } }
.model-graph .paper { fill:var(--paper); }
.model-graph text { fill:var(--ink); }
.model-graph .small { font-weight:400; font-size:10.5px; fill:var(--muted); }
.model-graph .node .small { fill:var(--ink); fill-opacity:.82; }
.model-graph .between .name { font-weight:400; font-size:11px; }
.model-graph .pill .name { font-weight:400; font-size:11px; }
.model-graph .share { font-weight:600; font-size:11px; }
.model-graph .heading { font-size:14px; }
.model-graph .edge { fill:none; stroke:var(--line); stroke-width:1.4; }
.model-graph .head { fill:var(--line); }
.model-graph .base { fill:var(--box); }
.model-graph .fill { stroke-width:1.2; fill-opacity:.16; }
.model-graph .node:hover .fill { stroke-width:2.4; }
.model-graph .rim rect, .model-graph .rim path { fill:var(--rim); stroke:none; }
.model-graph .rim path { fill:none; stroke:var(--rim); }
.model-graph .region rect { fill:var(--region); }
.model-graph .region path { fill:none; stroke:var(--region); }
.model-graph .hot { fill:var(--hot); stroke:var(--line); }
""" + "\n".join(
    f".model-graph .{name} {{ fill:var(--{name}); stroke:var(--{name}); }} "
    f".model-graph .edge-{name} {{ fill:var(--{name}); }}"
    for name in NAMES
)


def color_class(precision: str) -> str:
    """Returns the class of colours for what a node computes in."""
    if " weights, " in precision:
        return "mixed"
    if precision in _INTEGERS:
        return "integer"
    return next((name for start, name in _CLASSES if precision.startswith(start)), "other")
