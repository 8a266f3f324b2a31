"""A history of a step over commits: as text, for pull requests, as a page and for programs."""
