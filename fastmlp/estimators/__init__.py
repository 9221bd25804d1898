"""scikit-learn's surface: parameters, validation, labels, fitted attributes, predictions."""
