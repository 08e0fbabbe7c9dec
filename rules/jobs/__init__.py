"""Jobs: their state, and which batch follows."""
