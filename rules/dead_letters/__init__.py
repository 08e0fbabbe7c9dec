"""Dead letters: their content, and which write wins."""
