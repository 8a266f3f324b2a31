"""Words: pure functions from summaries to text; whoever calls them writes it."""
