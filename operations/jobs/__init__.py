"""Jobs: started, shown, cancelled, and started on a route's schedule."""
