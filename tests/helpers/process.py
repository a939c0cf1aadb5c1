"""Importing this, before torch, lets the threads of the tests sleep where other processes use the cores."""

import os

from mmrest_cli import prepare_process

prepare_process(os.environ)
