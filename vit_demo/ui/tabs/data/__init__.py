"""The Data tab: what is in a data set, photo by photo and in numbers."""

from vit_demo.ui.tabs.data.check import train_on
from vit_demo.ui.tabs.data.opened import CORRECTED, SOURCES, brought, corrected, sources, usual_sources
from vit_demo.ui.tabs.data.page import build

__all__ = ["CORRECTED", "SOURCES", "brought", "build", "corrected", "sources", "train_on", "usual_sources"]
