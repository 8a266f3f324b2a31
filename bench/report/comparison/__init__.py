"""A judged comparison in words: for terminals, pull requests, programs and browsers."""
