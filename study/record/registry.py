"""Confirmed networks in MLflow's Model Registry, each once."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from study.record.outcome import KeptModel

ROOT = Path(__file__).resolve().parents[1]  # the package `study`, which travels with a model
KEPT_FILES = ("weights.npz", "model.json")
REQUIREMENTS = (
    "tensorflow",
    "keras>=3",
    "numpy",
    "opencv-python-headless",
    "scikit-image",
    "mlflow",
)
KEY_TAG = "refocus.key"


def model_name(study: str) -> str:
    """Return the name under which a study's networks are registered."""
    return f"refocus-{study}"


def register(client: MlflowClient, *, study: str, key: str, run: str, kept: KeptModel) -> None:
    """Register a network as a version of the study's model, unless it is there; let its alias point
    at it.

    Parameters
    ----------
    client : MlflowClient
        Of the server.
    study : str
        The study's name.
    key : str
        What tells this version from all others: tagged, and looked for.
    run : str
        MLflow's number of the run that trained it; the files become its artifact ``model``.
    kept : KeptModel
        The network.
    """
    name = model_name(study)
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(
            name,
            description=(
                f"Networks that the study {study} confirmed: {{image (N, Y, X)}} -> restored"
            ),
        )
    versions = [
        version
        for version in client.search_model_versions(f"name = '{name}'")
        if version.tags.get(KEY_TAG) == key
    ]
    if versions:
        version = versions[0]
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            _save(kept, folder)
            client.log_artifacts(run, str(folder), "model")
        source = f"{client.get_run(run).info.artifact_uri}/model"
        version = client.create_model_version(
            name, source, run, tags={KEY_TAG: key, "label": kept.label}, await_creation_for=None
        )
    client.set_registered_model_alias(name, kept.alias, version.version)


def withdraw(client: MlflowClient, *, study: str, alias: str) -> None:
    """Let an alias point at no version of the study's model any more, where an earlier end of the
    study has set it.
    """
    name = model_name(study)
    try:
        held = client.get_registered_model(name).aliases
    except MlflowException:
        return
    if alias in held:
        client.delete_registered_model_alias(name, alias)


def _save(kept: KeptModel, folder: Path) -> None:
    """Write the model's folder: code, weights and JSON."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        # of MLflow's type hints, and of examples that a model does without
        warnings.simplefilter("ignore")
        import mlflow.pyfunc  # here: it takes seconds, and only the end of a study needs it

        trial = Path(scratch) / "trial"
        trial.mkdir()
        for file in KEPT_FILES:
            shutil.copy(kept.folder / file, trial)
        images = TensorSpec(np.dtype(np.float32), (-1, -1, -1))
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(Path(__file__).with_name("mlflow_model.py")),
            artifacts={"trial": str(trial)},
            code_paths=[str(ROOT)],
            signature=ModelSignature(inputs=Schema([images]), outputs=Schema([images])),
            pip_requirements=list(REQUIREMENTS),
        )
