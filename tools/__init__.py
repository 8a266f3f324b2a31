"""The commands a person types; each is a thin main, the logic lives in bench/ and lowbit/."""
