"""A Triton model repository in an object store: ``s3://``, ``gs://``, ``az://``."""

from __future__ import annotations

from .repository import ObjectRepository

__all__ = ["ObjectRepository"]
