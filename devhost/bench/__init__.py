"""Measurements on local stacks.

`make bench` measures speed and counts under load, `make versus` the app beside other tools, `make cost` the requests and prices
of a blob.
"""
