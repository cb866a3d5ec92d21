"""The files that training and evaluation write about one run, or about several: one file for each format.

Read `_contents` (what a format returns) and `_source` (how a file is opened) first, then any format; `_formats` lists them in the order in
which they are tried.
"""
