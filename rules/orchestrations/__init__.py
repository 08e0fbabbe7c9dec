"""Orchestrations as the Durable extension shows them: their view, their recovery, their liveness."""
