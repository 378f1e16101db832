"""Classifiers from a folder or the hub: safe to load, the same for the same seed."""

from __future__ import annotations

from models.encoders.loading import LoadedClassifier, LoadedModel, load_classifier, trainable_signature
from models.encoders.revision import folder_revision

__all__ = ["LoadedClassifier", "LoadedModel", "folder_revision", "load_classifier", "trainable_signature"]
