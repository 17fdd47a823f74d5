"""Kafka, through librdkafka."""

from .broker import Broker

__all__ = ["Broker"]
