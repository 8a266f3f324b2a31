"""Profiles as text: the lines of functions, and the difference of two profiles."""
