"""Azure Storage and Event Grid on a developer's machine: Azurite behind a proxy that is as slow and as strict as the service."""
