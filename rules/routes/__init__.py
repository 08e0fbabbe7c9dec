"""Routes: their places, their configuration, and the blob names that they can carry."""
