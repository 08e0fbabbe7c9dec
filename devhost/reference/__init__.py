"""The reference documentation, generated from the code: tables, pages and the OpenAPI description. Run `make docs`."""
