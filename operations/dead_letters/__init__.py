"""Dead letters: listed, replayed, discarded."""
