"""The ports, implemented on Azure Storage and on the Durable extension."""
