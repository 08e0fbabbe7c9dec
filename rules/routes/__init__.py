"""Routes: the places that they connect, how they are configured, which blob names they can carry."""
