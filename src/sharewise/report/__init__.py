"""Reports: one self-contained HTML page that shows a run, finished or not, and its pictures one by one."""

from sharewise.report.page import render_report, write_report
from sharewise.report.pictures import Drawing, pictures
from sharewise.report.read import (
    AgainstRandom,
    Candidate,
    Epoch,
    Gap,
    Picture,
    ReportData,
    read_memory,
    read_run,
)

__all__ = [
    "AgainstRandom",
    "Candidate",
    "Drawing",
    "Epoch",
    "Gap",
    "Picture",
    "ReportData",
    "pictures",
    "read_memory",
    "read_run",
    "render_report",
    "write_report",
]
