"""The command line of Blob Data Sharing: a client of the app's HTTP API."""
