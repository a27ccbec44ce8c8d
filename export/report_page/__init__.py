"""The HTML report: one file to look at and listen to."""

from voirs_vocoder.export.report_page.content import (
    PageClip,
    PageColumn,
    PageContent,
    PageRow,
    PageUtterance,
)
from voirs_vocoder.export.report_page.page import render_page
from voirs_vocoder.export.report_page.pictures import require_drawing

__all__ = [
    "PageClip",
    "PageColumn",
    "PageContent",
    "PageRow",
    "PageUtterance",
    "render_page",
    "require_drawing",
]
