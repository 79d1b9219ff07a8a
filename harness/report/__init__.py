"""Presenters: console, markdown, HTML, JUnit. They decide nothing."""
