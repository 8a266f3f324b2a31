"""Numbers: pure functions from raw samples to summaries, ratios and caveats; no files, no torch."""
