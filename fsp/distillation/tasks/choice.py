"""The tasks by name."""

from fsp.distillation.tasks.classes import ClassesTask
from fsp.distillation.tasks.embedding import EmbeddingTask
from fsp.distillation.tasks.language import CausalTask, MaskedTask
from fsp.distillation.tasks.states import StatesTask
from fsp.distillation.tasks.task import Task
from fsp.distillation.teacher import Teacher

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (StatesTask, EmbeddingTask, MaskedTask, CausalTask, ClassesTask)
}


def task_of(teacher: Teacher) -> Task:
    """Return the task that T was loaded for."""
    return TASKS[teacher.task](teacher)
