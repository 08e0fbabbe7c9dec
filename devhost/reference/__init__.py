"""The reference documentation: tables, whole pages and the OpenAPI description, made from the code. `make docs` writes them."""
