"""Azure Storage and Event Grid on this machine: Azurite behind a proxy that is as slow and as strict as the service."""
