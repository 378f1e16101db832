"""Reports: what a job came to, as JSON and as one page with plots."""
