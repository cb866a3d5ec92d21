"""Text in and out: names, numbers, files and tables, once each for the whole package.

This room stands leftmost: it imports nothing of mixfast, and every other room may import it. It is internal, so its modules have no
underscore and are imported directly, as in ``from mixfast._text.names import listing``. As it cannot know the error classes of the
rooms, whatever refuses here takes the class of the error to raise.

What there is, in the order in which to read it:

- `visible`: what is shown of text from outside: nothing that acts on a terminal or turns the direction of writing; words for a shell.
- `names`: check, list, match and split the names of domains; `did_you_mean` for names that are not known.
- `audience`: speak of arguments to callers of the library, and of options to users of the commands.
- `numbers`: parse token counts such as ``1.5T`` and shares such as ``20%``; show percentages, counts and bytes.
- `kinds`: what a file is by its first bytes, and the refusal of a file of another kind.
- `json`, `yaml`: read documents of files, with no key twice. YAML is read by PyYAML, with every value as text, so a domain called
  ``no`` keeps its name and whoever needs a number parses it. `write_yaml` writes what every reader of YAML takes alike.
- `nesting`: the refusal of documents that are nested too deeply, or repeat themselves too often.
- `arrays`: npy and npz files, of which no header is believed unseen; `memory` says how much of it is free.
- `frozen`: what is never changed stays equal and read-only through pickle and copies.
- `sized`: read a whole file, unless it is larger than any of its kind.
- `packed`: what gzip packed, and the refusal of what was cut short.
- `atomic`: the one writer of files: replaced as a whole or not at all, several together; links, pipes and devices.
- `locks`: hold a file against other processes and threads while it is changed.
- `surprise`: one line for a mistake of mixfast itself, and a file with its traceback.
- `interrupts`: what a signal must not stop half way.
- `optional`: refuse a missing optional package, with the command that installs it.
- `table`: text tables with columns in line.

Nothing here but `arrays` and `frozen`, which import numpy, imports a package from outside at import; PyYAML is loaded when a document is read.
"""
