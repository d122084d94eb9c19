"""The manifest for lmms-eval's entry-point group `lmms_eval.models`; imports no torch."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The `ModelManifest` by which `lmms-eval --model paretoprune` finds the model class."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="paretoprune",
        simple_class_path="paretoprune.deploy.harnesses.lmms_eval_model.Paretoprune",
    )
