from .calibrating import calibrate as calibrate
from .measure import Measurement as Measurement
from .measure import measure as measure
from .targets import parse_targets as parse_targets
