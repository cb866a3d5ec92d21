"""Read the files that training and evaluation write about runs; each format has a module.

Read `_contents` (what a format returns) and `_source` (how a file is opened) first, then any format; `_formats` lists them in the order in
which they are tried.
"""
