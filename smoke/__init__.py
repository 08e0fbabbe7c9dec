"""The smoke test of a deployment (`make smoke`). It uses only the app's API and its storage."""
