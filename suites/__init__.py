"""The suites that asv collects; asv imports this folder as a package of its name, and nothing else does."""
