"""
Prometheus text: what every process has counted, and what is read for the answer.

A number that the database knows is read when it is asked for and kept nowhere:
a gauge that each process keeps goes on saying what was true at its last scrape.
"""

import logging
import os

from django.db import Error, connections
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, CollectorRegistry
from prometheus_client.exposition import generate_latest, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# Functions that return metrics as they are now; the apps append theirs when ready.
READERS = []


def render():
    """Return every metric as Prometheus text, in bytes."""
    return generate_latest(registry())


def registry():
    """
    Return what answers one scrape.

    prometheus_client leaves collectors out where several processes count, unless
    they stand in the registry that the answer is made from, as they do here.
    """
    answer = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(answer)
    else:
        answer.register(REGISTRY)
    answer.register(_Readers())
    return answer


def serve(port, *, address="0.0.0.0"):  # noqa: S104  pods are scraped from outside
    """
    Answer scrapes from a thread, for a process that serves nothing else.

    Return the server; it ends with the process.
    """
    server, _ = start_http_server(port, addr=address, registry=_EveryScrape())
    return server


class _Readers:
    def collect(self):
        for read in READERS:
            try:
                metrics = list(read())
            except Error as error:
                # Missing numbers raise an alarm; made-up or old ones do not.
                logger.warning("%s.%s: %s", read.__module__, read.__name__, error)
                continue
            yield from metrics


class _EveryScrape(CollectorRegistry):
    """A registry that is made anew each time, as several processes require."""

    def collect(self):
        try:
            yield from registry().collect()
        finally:
            connections.close_all()  # the thread ends, and a pool would not notice
