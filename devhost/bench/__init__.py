"""Measurements on local stacks: `make bench` (speed and counts under load), `make cost` (requests and prices of a blob)."""
