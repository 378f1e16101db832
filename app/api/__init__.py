"""HTTP: routes, schemas, and the one table from domain error to status."""
