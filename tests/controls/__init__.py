"""Negative controls: each defence is taken out of a copy of the code, and its test has to fail."""
