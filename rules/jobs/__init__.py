"""Jobs: their values, lifecycle, status and reports."""
