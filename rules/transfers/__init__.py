"""Transfers: their identity, their state, and every decision about them."""
