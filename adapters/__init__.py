"""Azure Storage and the Durable extension behind the ports of the rules; one twin in memory for each."""
