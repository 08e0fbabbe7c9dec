"""What the timers do: they drain, resume, reconcile records, watch and purge; and the health check."""
