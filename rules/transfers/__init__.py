"""Transfers: identity, states, decisions and lifecycle."""
