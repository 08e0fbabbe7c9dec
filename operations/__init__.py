"""What the triggers do, on ports alone: one operation a module."""
