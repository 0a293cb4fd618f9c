"""Apache Kafka's own jars, fetched once by Maven into `.kafka/`, a folder a version; the Java to run them.

`KAFKA_TEST_VERSION=3.6.2` in the environment chooses another than the newest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.kafka.cluster import Unavailable

NEWEST = "4.3.1"
KAFKA_VERSION = os.environ.get("KAFKA_TEST_VERSION") or NEWEST
OLDEST_JAVA = 17
CACHE = Path(__file__).parents[2] / ".kafka"

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
# kafka brings slf4j 1.7 and log4j 2, but nothing that joins them
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bench</groupId> <artifactId>kafka</artifactId> <version>1</version> <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId> <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId> <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""


def java() -> str:
    """The path of a Java that can run Kafka."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise Unavailable(f"no java: install Java {OLDEST_JAVA} or newer and Maven")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise Unavailable(f"{found} is not Java {OLDEST_JAVA} or newer: install one, or set JAVA_HOME")
    return found


def classpath() -> str:
    """Kafka and its run-time dependencies as Java's class path, fetched when they are not here yet."""
    provided()
    jars = _jars()
    if not jars.is_dir():
        _fetch(jars)
    return f"{jars}/*"


def provided() -> None:
    """Raise `Unavailable` unless a cluster can be started from here."""
    java()
    if not _jars().is_dir() and shutil.which("mvn") is None:
        raise Unavailable("no mvn: install Maven, which fetches Apache Kafka")


def _jars() -> Path:
    return CACHE / f"kafka-{KAFKA_VERSION}"


def _fetch(jars: Path) -> None:
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        Path(scratch, "pom.xml").write_text(_POM)
        goal = [_COPY, "-DincludeScope=runtime", f"-DoutputDirectory={scratch}/jars"]
        ran = subprocess.run(
            ["mvn", "-B", "-q", *goal], cwd=scratch, capture_output=True, text=True, timeout=300, check=False
        )
        if ran.returncode:
            raise Unavailable(f"mvn could not fetch Apache Kafka {KAFKA_VERSION}:\n{ran.stdout[-1500:]}")
        if not jars.is_dir():  # two sessions may fetch at once; either's jars will do
            os.rename(f"{scratch}/jars", jars)
