from .finetune import agora as agora
from .settings import FinetuningSettings as FinetuningSettings
from .theta import Hyperparameters as Hyperparameters
from .theta import grid as grid
from .theta import load_theta as load_theta
