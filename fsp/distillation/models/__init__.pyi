from .folder import find_model as find_model
from .identity import fingerprint as fingerprint
from .loading import ModelFolder as ModelFolder
from .loading import open_model as open_model
from .sentence_layout import SentenceLayout as SentenceLayout
from .sentence_layout import layout_of as layout_of
