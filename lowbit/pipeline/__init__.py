"""From a float model to a quantized one, with what it can still do written down at every stage."""
