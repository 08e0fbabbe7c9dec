"""Starting, sharing, reading, cancelling and restarting transfers."""
