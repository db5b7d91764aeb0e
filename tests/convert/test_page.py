"""The code of the page on conversion runs."""

import re
from pathlib import Path

import pytest

pytest.importorskip("skl2onnx")
pytest.importorskip("skops")

PAGE = Path(__file__).resolve().parents[2] / "docs/conversion.md"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), namespace)
    difference, names = capsys.readouterr().out.splitlines()
    assert float(difference) < 1e-12
    assert names == "['label', 'probabilities']"
    assert namespace["restored"].score(namespace["X"], namespace["y"]) > 0.9
    assert (tmp_path / "model.onnx").stat().st_size > 0
