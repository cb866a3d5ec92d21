"""The version of the package. pyproject.toml, the documentation and `mixfast --version` read it from here."""

__version__ = "0.2.0"
