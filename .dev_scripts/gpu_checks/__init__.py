"""Checks and measurements on one NVIDIA GPU: what ``python .dev_scripts/gpu_check.py`` does with its arguments."""
