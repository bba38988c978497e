"""What a history says of the search that wrote it: alarms, R-DARTS's rule, and records of other people's searches."""

from sharewise.alarm.eigenvalue import EigenvalueRise
from sharewise.alarm.history import Reading, readings, standing
from sharewise.alarm.rule import UNLEARNED, Alarm, SkipsAlone, SkipsAndOverfitting, alarms
from sharewise.alarm.search_logs import SearchLog, read_search_logs

__all__ = [
    "UNLEARNED",
    "Alarm",
    "EigenvalueRise",
    "Reading",
    "SearchLog",
    "SkipsAlone",
    "SkipsAndOverfitting",
    "alarms",
    "read_search_logs",
    "readings",
    "standing",
]
