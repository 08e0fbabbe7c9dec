"""The rules of sharing: standard library only, no I/O, no clock, no logging."""
