"""The nouns of the instrument: frozen dataclasses that need nothing but the standard library."""
