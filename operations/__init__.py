"""The operations behind triggers and activities. They reach the outside world through ports only."""
