"""Where the messages are, for Flower, which has none of the service's own code."""

import os

broker_url = os.environ.get("GRADSIFT_REDIS_URL", "redis://redis:6379/0")
broker_transport_options = {"global_keyprefix": os.environ.get("GRADSIFT_KEY_PREFIX", "gs") + ":celery:"}
task_default_queue = "jobs"
