"""Events: parsing a message, deciding what follows from it, and writing the app's own."""
