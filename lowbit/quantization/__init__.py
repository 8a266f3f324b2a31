"""Quantization flows: each a function from a model to a quantized one, and the arithmetic that it rests on."""
