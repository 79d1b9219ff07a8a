"""Presenters: console, Markdown, HTML, JUnit, LaTeX, SVG. They decide nothing."""
