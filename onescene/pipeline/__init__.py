"""Pipeline: stages on disk. A folder per stage, resumed by content, locked, recorded; training and batch runs too.

The stages compute and know no files; this room reads their inputs, writes their outputs and decides what is still
valid. It shows nothing: progress goes to a callable, and the command line draws it.
"""
