"""Image sets that batches are drawn from."""
