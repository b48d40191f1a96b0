from .error import ErrorReplay as ErrorReplay
from .error import replay_error as replay_error
from .search import SearchReplay as SearchReplay
from .search import replay_search as replay_search
from .speed import SpeedReplay as SpeedReplay
from .speed import replay_speed as replay_speed
from .table import Table as Table
from .table import read_table as read_table
