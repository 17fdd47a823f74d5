"""Which versions run, and where they listen unless told otherwise."""

KAFKA = "4.4.0"
KAFKA_SCALA = "2.13"
KEYCLOAK = "26.7.3"
SPICEDB = "v1.56.2"
GO = "1.26.6"  # what this SpiceDB is built with, at least

SLF4J_SIMPLE = "1.7.36"  # of the generation that Kafka's jars log through
MAVEN_DEPENDENCY_PLUGIN = "3.6.1"

# PostgreSQL (15 or newer), Redis (7 or newer), Java (17 or newer) and Maven are
# the distribution's own.

# Away from the usual ones, so that nobody's own services are in the way. Where
# one is taken, a later one is (see state.py).
PORTS = {
    "postgresql": 15432,
    "peers-postgresql": 15433,
    "redis": 16379,
    "kafka": 19092,
    "kafka-controller": 19093,
    "kafka-oauth": 19094,
    "keycloak": 18080,
    "spicedb": 15051,
}
