"""What a model costs when it is deployed: its operations, bytes and times, layer by layer."""
