"""Listing, replaying and discarding dead letters."""
