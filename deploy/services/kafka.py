"""Kafka: one node, broker and controller in one."""

import base64
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from . import pins, programs
from .service import Service
from .state import write_private

POM = Path(__file__).with_name("kafka-pom.xml")

# The second listener takes unsigned tokens, which say what they like: it is
# there to prove the client's side of OAUTHBEARER, and that a refusal is
# understood. Whoever comes through it may do nothing but what ACLs allow;
# whoever comes through the first, everything.
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller},\
SASL_PLAINTEXT://127.0.0.1:{oauth}
advertised.listeners=PLAINTEXT://127.0.0.1:{kafka},SASL_PLAINTEXT://127.0.0.1:{oauth}
listener.security.protocol.map=\
CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=OAUTHBEARER
listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
message.max.bytes=53477376
replica.fetch.max.bytes=53477376
"""


class Kafka(Service):
    """A broker whose topics are made on request, for messages of up to 50 MiB."""

    name = "kafka"
    ports = ("kafka", "kafka-controller", "kafka-oauth")

    def install(self):
        self._java = programs.java()
        with programs.fetched_once(f"kafka-{pins.KAFKA}") as (folder, is_there):
            self._jars = folder / "*"
            if is_there:
                return
            programs.maven(
                f"--file={POM}",
                f"-Dkafka.version={pins.KAFKA}",
                f"-Dkafka.scala={pins.KAFKA_SCALA}",
                f"-Dslf4j.version={pins.SLF4J_SIMPLE}",
                "org.apache.maven.plugins:maven-dependency-plugin:"
                f"{pins.MAVEN_DEPENDENCY_PLUGIN}:copy-dependencies",
                f"-DoutputDirectory={folder}",
                "-DincludeScope=runtime",
                folder=folder,
                log=programs.cache() / "kafka-download.log",
            )

    def prepare(self):
        data = self.folder / "data"
        settings = SETTINGS.format(
            kafka=self.state.port("kafka"),
            controller=self.state.port("kafka-controller"),
            oauth=self.state.port("kafka-oauth"),
            data=data,
        )
        write_private(self._settings(), settings)
        if not (data / "meta.properties").exists():
            arguments = ["format", "--cluster-id", _cluster_id(), "--config"]
            programs.run(
                self._java_command(
                    "kafka.tools.StorageTool", *arguments, self._settings()
                ),
                log=self.folder / "format.log",
            )

    def command(self):
        return self._java_command("kafka.Kafka", self._settings())

    def is_ready(self):
        client = AdminClient(
            {"bootstrap.servers": self.address(), "log_level": 0, "retries": 0},
            logger=None,
        )
        try:
            return bool(client.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def _settings(self):
        return self.folder / "server.properties"

    def _java_command(self, main, *arguments):
        options = ["-Xmx512m", "-XX:+ExitOnOutOfMemoryError"]
        options += [
            f"-Djava.io.tmpdir={self.folder}",
            f"-Dkafka.logs.dir={self.folder}",
        ]
        options += [
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        ]
        return [self._java, *options, "-cp", self._jars, main, *arguments]


def _cluster_id():
    """Return a new id in Kafka's form, which is not to look like an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text
