"""The service: HTTP, command line, stores. Imports no torch."""
