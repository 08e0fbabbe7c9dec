"""Starting jobs, by request or on a route's schedule; reading and cancelling them."""
