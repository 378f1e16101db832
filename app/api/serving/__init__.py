"""The HTTP server itself: connections that are watched, and an end that drops nobody."""
