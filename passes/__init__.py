"""The IR (``forest``, ``program``) and its passes, one a file under ``trees/`` and ``graph/``."""
