"""The figures of routes: what the steps of transfers report, and what the API answers."""
