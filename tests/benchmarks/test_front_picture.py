"""The picture in the README shows the numbers that its command computes."""

import pytest

pytest.importorskip("scipy")

from benchmarks.studies import front_picture


def test_the_committed_picture_is_that_of_its_command(tmp_path, capsys):
    front_picture.run(tmp_path / "picture.svg")
    committed = front_picture.ROOT / "docs" / "_static" / "before-and-after.svg"
    assert (tmp_path / "picture.svg").read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")
    assert "mean of the four       -4.9 +- 0.7 %" in capsys.readouterr().out
