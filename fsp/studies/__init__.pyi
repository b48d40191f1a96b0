from .evaluator import ErrorFunction as ErrorFunction
from .evaluator import Evaluator as Evaluator
from .helper import work as work
from .store import Store as Store
from .store import open_store as open_store
from .study import Evaluation as Evaluation
from .study import stored_studies as stored_studies
