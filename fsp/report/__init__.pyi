from . import figures as figures
from .pages import write_pages as write_pages
from .pages import write_report as write_report
