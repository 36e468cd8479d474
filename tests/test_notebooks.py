"""The notebooks of the documentation run from their first cell to their last."""

from pathlib import Path

import pytest

# Training as short as it can be; all else runs as it is.
SHORT = {
    "practice(RATE)": "practice(RATE, seconds=12)",
    "Recipe()": "Recipe(epochs=1)",
}
NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_is_something_to_shorten():
    text = "".join(path.read_text("utf-8") for path in NOTEBOOKS)
    assert all(usual in text for usual in SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_made(path, tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    for cell in notebook.cells:
        for usual, short in SHORT.items():
            cell.source = cell.source.replace(usual, short)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("text/html" in out.get("data", {}) for out in shown)  # to hear
    assert any("image/png" in out.get("data", {}) for out in shown)
