"""Dead letters: what they hold, and which write wins."""
