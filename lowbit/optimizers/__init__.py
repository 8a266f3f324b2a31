"""Optimizers: a thin class and pure update functions in each file."""
