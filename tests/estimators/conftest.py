"""A fitted classifier, its model file, and the parts of that."""

import json

import pytest
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier
from fastmlp.estimators.persistence import save_model
from fastmlp.files.archive import read_archive
from tests.helpers.models import IRIS, fit


@pytest.fixture(scope="module")
def classifier():
    return fit(MLPClassifier((5, 4), random_state=0))


@pytest.fixture(scope="module")
def model_bytes(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    scaler = StandardScaler().fit(IRIS)
    save_model(path, classifier, scaler, columns=["a", "b", "c", "d"], target="species")
    return path.read_bytes()


@pytest.fixture
def parts(tmp_path, model_bytes):
    (tmp_path / "good").write_bytes(model_bytes)
    arrays = read_archive(tmp_path / "good")
    return json.loads(arrays.pop("header").tobytes()), arrays
