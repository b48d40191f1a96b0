from .choice import TASKS as TASKS
from .choice import Task as Task
from .choice import task_of as task_of
