"""The local stack: everything the app needs from Azure, on a developer's machine; never deployed."""
