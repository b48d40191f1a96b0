from .corpus import Corpus as Corpus
from .corpus import pack as pack
from .corpus import read_corpus as read_corpus
from .corpus import standard_library as standard_library
from .segmentation import passages as passages
from .segmentation import sentences as sentences
