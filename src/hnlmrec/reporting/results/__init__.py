"""Finished studies as small files that can be committed, and the page that is written from them."""

from hnlmrec.reporting.results.page import write_results_page
from hnlmrec.reporting.results.publish import publish_study

__all__ = ["publish_study", "write_results_page"]
