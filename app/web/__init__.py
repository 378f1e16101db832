"""The dashboard: built files, served by the API itself."""
