"""What permission checks cost."""

from prometheus_client import Histogram

CHECK_SECONDS = Histogram(
    "orgmanager_permission_check_seconds",
    "How long the authorization service took to decide, failures included.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
)
