from .calibrating import calibrate as calibrate
from .measuring import Measurement as Measurement
from .measuring import measure as measure
from .settings import CalibrationSettings as CalibrationSettings
from .settings import MeasurementSettings as MeasurementSettings
from .targets import parse_targets as parse_targets
