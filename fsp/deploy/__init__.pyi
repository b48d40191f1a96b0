from .comparison import Check as Check
from .comparison import compare as compare
from .exporting import export as export
from .latency.calibrating import calibrate as calibrate
from .latency.measuring import measure as measure
from .serving import load_saved as load_saved
