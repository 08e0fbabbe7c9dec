"""Decisions as pure functions over frozen values: standard library only, no I/O, no clock, no logging."""
