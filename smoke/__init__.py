"""The smoke test for a person with a subscription: `make smoke`. It knows the app by its API and its storage alone."""
