"""What relay and work orders count as it happens; metrics.py reads the rest."""

import time
from collections import Counter as Tally
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

DELIVERIES = Counter(
    "orgmanager_outbox_deliveries",
    "Events that were handed to the broker, by what became of them.",
    ["destination", "result"],
)
WORK_SECONDS = Histogram(
    "orgmanager_work_order_seconds",
    "How long other systems took to be brought to the row's state.",
    ["destination"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


def count_deliveries(messages, result):
    """Count ``messages`` as ``delivered``, ``refused`` or ``unavailable``."""
    for topic, count in Tally(message.topic for message in messages).items():
        DELIVERIES.labels(topic, result).inc(count)


@contextmanager
def timed_work(destination):
    """Time the block. One that fails is not timed: it brought nothing anywhere."""
    started_at = time.perf_counter()
    yield
    WORK_SECONDS.labels(destination).observe(time.perf_counter() - started_at)
