"""Accuracy: from predictions to every figure."""
