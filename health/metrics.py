"""The state of every component as numbers, found out when they are asked for."""

from prometheus_client.core import GaugeMetricFamily

from .monitor import AFFECTED, DEGRADED, DOWN, UNKNOWN, UP
from .probes import report

STATUSES = (UP, DEGRADED, AFFECTED, UNKNOWN, DOWN)


def read():
    """Return one gauge per component and status: 1 for the one it has, 0 else."""
    states = GaugeMetricFamily(
        "orgmanager_component_status",
        "1 for the status that a component has. Alarm on DOWN and DEGRADED.",
        labels=["component", "status"],
    )
    for name, found in report().items():
        for status in STATUSES:
            states.add_metric([name, status], int(status == found.status))
    return [states]
