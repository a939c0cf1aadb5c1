"""Report of a test: one HTML page with metrics, confusions, the worst images, times and the environment."""

from .facts import describe_test
from .hook import ReportHook
from .page import write_report
from .record import TestRecord

__all__ = ['ReportHook', 'TestRecord', 'describe_test', 'write_report']
