"""The operations of the timers (drain, resume, sweep, watchdog, purge), and the health check."""
