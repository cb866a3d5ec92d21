"""Messages name arguments to callers of the library, and options to users of the commands."""

import re

import pytest

from mixfast import Swarm, fit
from mixfast._text.audience import commanded, either, setting


def test_words_are_those_of_who_reads_them():
    assert (either("kl=0.05", "--kl 0.05"), setting("why", "two words")) == ("kl=0.05", "why='two words'")
    with commanded():
        assert (either("kl=0.05", "--kl 0.05"), setting("why", "two words")) == ("--kl 0.05", "--why 'two words'")
    assert setting("max_epochs", 4) == "max_epochs=4"


def test_a_refusal_inside_a_command_names_the_option():
    swarm = Swarm([[0.5, 0.5], [0.4, 0.6], [0.2, 0.8]], [1.0, 1.1, 1.2], domains=["a", "b"], metric_names=["loss"])
    with pytest.raises(ValueError, match=re.escape("name one law, as law='linear'")):
        fit(swarm, "auto", folds=0)
    with commanded(), pytest.raises(ValueError, match="name one law, as --law linear"):
        fit(swarm, "auto", folds=0)
