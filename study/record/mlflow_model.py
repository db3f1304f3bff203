"""The network as MLflow loads it: this file is the model's code, its weights and hyperparameters
are artifacts. No pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class RefocusModel(PythonModel):
    """Sharpens grey images: array of shape (N, Y, X) -> array of the same shape, float32, in each
    image's own range of intensities.
    """

    def load_context(self, context: Any) -> None:
        """Build the network from what the trial left."""
        from study.trial.restoring import load_restorer

        self._restorer = load_restorer(Path(context.artifacts["trial"]))

    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Restore every image."""
        return np.stack([self._restorer.restore(image) for image in np.asarray(model_input)])


set_model(RefocusModel())
