"""Import jobs: files that the service reads itself become samples."""
