from .fptas import FPTASSampler as FPTASSampler
from .optuna_samplers import gp as gp
from .optuna_samplers import nsga2 as nsga2
from .optuna_samplers import tpe as tpe
