"""Orchestrations as the Durable extension reports them: status, recovery and liveness."""
