"""The figures of each route: what happened to its transfers, how fast, and what runs."""
