"""The engines of event logs; those that are not installed are skipped."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.event_logs import PROGRAMS, Engines, postgres_server


@pytest.fixture(scope="session")
def _engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    return Engines(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="session")
def _spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.driver.host": "127.0.0.1"}
    settings["spark.local.dir"] = str(tmp_path_factory.mktemp("spark"))
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[str]:
    with postgres_server() as address:
        yield address


@pytest.fixture(
    params=["files", *(pytest.param(name, marks=pytest.mark.slow) for name in ("relation", "postgres", "spark"))]
)
def engine(request: pytest.FixtureRequest, _engines: Engines) -> str:
    """The name of an engine, whose server or session is running."""
    name = str(request.param)
    if name == "postgres":
        if importlib.util.find_spec("psycopg") is None:
            pytest.skip("psycopg is not installed: pip install 'viberkit[postgres]'")
        if PROGRAMS is None:
            pytest.skip("PostgreSQL is not installed")
        _engines.address = request.getfixturevalue("_postgres")
    if name == "spark":
        if importlib.util.find_spec("pyspark") is None:
            pytest.skip("pyspark is not installed: pip install 'viberkit[spark]'")
        _engines.spark = request.getfixturevalue("_spark")
    return name


@pytest.fixture
def engines(_engines: Engines, tmp_path: Path) -> Engines:
    return _engines
