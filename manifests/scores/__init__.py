"""Anomaly scores that anybody made, read from the shapes that people keep them in."""
