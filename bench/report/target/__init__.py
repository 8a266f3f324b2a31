"""Time to target in words: for terminals, pull requests and programs."""
