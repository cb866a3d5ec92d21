"""Text input and output for the whole package: names, numbers, files and tables.

This room comes first: it imports nothing of mixfast, and every other room may import it. It is internal, so its modules have no
underscore and are imported directly, as in ``from mixfast._text.names import listing``. It does not know the error classes of other
rooms, so functions that refuse something take the class of the error to raise.

The modules, in the order in which to read them:

- `visible`: make text from outside safe to show: nothing in it acts on a terminal or changes the direction of writing; quoting for a shell.
- `names`: check, list, match and split the names of domains; `did_you_mean` for unknown names.
- `audience`: name arguments to callers of the library, and options to users of the commands.
- `numbers`: parse token counts such as ``1.5T`` and shares such as ``20%``; show percentages, counts and bytes.
- `kinds`: find the kind of a file from its first bytes, and refuse a file of another kind.
- `json`, `yaml`: read documents and refuse repeated keys. YAML is read by PyYAML with every value as text, so a domain called
  ``no`` keeps its name; code that needs a number parses it. `write_yaml` writes what every YAML parser reads in the same way.
- `nesting`: refuse documents that are nested too deeply or repeat themselves too often.
- `arrays`: read npy and npz files and check their headers against the file; `memory` tells how much memory is free.
- `frozen`: immutable objects that stay equal and read-only through pickle and copies.
- `sized`: read a whole file, unless it is too large for its kind.
- `packed`: decompress gzip files, and refuse truncated ones.
- `atomic`: the only writer of files: a file is replaced as a whole or not at all, several together; links, pipes and devices.
- `folders`: the same for a folder of files: it is filled beside its place and renamed when it is complete.
- `locks`: lock a file against other processes and threads while it is changed.
- `surprise`: report an internal error in one line, and write its traceback to a file.
- `interrupts`: work that a signal must not stop halfway.
- `optional`: refuse a missing optional package, with the command that installs it.
- `table`: text tables with aligned columns.
- `notebook`: small HTML tables for notebooks; `frames`: tables for pandas.
- `progress`: progress bars for long work.

Only `arrays` and `frozen`, which import numpy, import a third-party package when they are loaded; PyYAML, pandas and tqdm are loaded
when they are used.
"""
