"""With ``VIBERKIT_PYSQLITE3`` set, the SQLite of pysqlite3 instead of Python's, in this process.

Python's is often one of the versions for which viberkit does not use WAL.
"""

from __future__ import annotations

import importlib
import os
import sys

if os.environ.get("VIBERKIT_PYSQLITE3"):
    sys.modules["sqlite3"] = importlib.import_module("pysqlite3")
    sys.modules["sqlite3.dbapi2"] = importlib.import_module("pysqlite3.dbapi2")
