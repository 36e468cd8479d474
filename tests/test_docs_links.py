"""Every link of README, documentation, notebooks and experiments leads somewhere."""

import io
import json
import re
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.ipynb")),
    *sorted((ROOT / "experiments").rglob("*.md")),
]
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\]\(\s*([^)\s]+)[^)]*\)")

FORMS = {
    "arxiv.org": r"https://arxiv\.org/abs/\d{4}\.\d{4,5}(v\d+)?",
    "doi.org": r"https://doi\.org/10\.\d{4,9}/\S+",
    "www.itu.int": r"https://www\.itu\.int/rec/R-REC-[A-Z]+\.\d+.*",
}
"""Of links to where papers and standards are."""


@cache
def text_of(page: Path) -> str:
    text = page.read_text("utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        written = (c["source"] for c in cells if c["cell_type"] == "markdown")
        text = "\n\n".join("".join(source) for source in written)
    return CODE.sub("", text)


def links_of(page: Path) -> list[str]:
    return LINK.findall(text_of(page))


def anchors_of(page: Path) -> set[str]:
    """What GitHub and mkdocs make of the headings."""
    headings = re.findall(r"^#+ +(.*?) *$", page.read_text("utf-8"), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in words}


EXTERNAL = sorted({u for page in PAGES for u in links_of(page) if "://" in u})


@pytest.fixture(scope="module")
def made(script):
    """The hook that makes the sounds."""
    return script("docs/sounds.py")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_there_are_links_to_check():
    assert len(PAGES) > 15
    assert len(EXTERNAL) >= 2
    assert sum(len(links_of(page)) for page in PAGES) > 25


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_link_within_leads_to_a_file_and_a_heading(page):
    lost = []
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        if "://" in link or re.fullmatch(r"sounds/\w+\.mp3", path):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("url", EXTERNAL)
def test_a_link_to_elsewhere_has_the_form_that_such_links_have(url):
    host = re.fullmatch(r"https://([\w.-]+)(/.*)?", url)
    assert host, f"{url}: wanted https://..."
    assert re.fullmatch(FORMS.get(host[1], ".*[^.,;:]"), url)


@pytest.mark.slow
@pytest.mark.parametrize("url", EXTERNAL)
def test_a_link_to_elsewhere_is_answered(url):
    request = Request(url, headers={"User-Agent": "Mozilla/5.0 (link check)"})
    try:
        with urlopen(request, timeout=10) as answer:
            assert answer.status == 200
    except HTTPError as error:
        if error.code in (404, 410):
            raise
        pytest.skip(f"{url} answers {error.code}: it asks who we are, or is not well")
    except (OSError, HTTPException) as error:
        pytest.skip(f"{url}: no network here, or not that far: {error}")


def test_a_link_to_a_sound_becomes_a_player(made):
    html = made.on_page_content('<p>Hear <a href="../sounds/mix.mp3">both</a>.</p>')
    assert '<audio controls preload="none" src="../sounds/mix.mp3"></audio>' in html
    assert ">both<" in html
    assert "<a " not in html
    other = '<a href="sounds.md">sounds</a>'
    assert made.on_page_content(other) == other


def test_a_sound_is_small_and_heard_as_it_is(made):
    decay = np.exp(-np.arange(made.RATE) / 4000)
    tone = 1.5 * decay * np.sin(0.06 * np.arange(made.RATE))  # too loud
    data = made.mp3(tone.astype(np.float32))
    assert len(data) < 20_000
    audio, rate = soundfile.read(io.BytesIO(data))
    assert rate == made.RATE
    assert 0.6 < np.abs(audio).max() < 0.95
    assert np.corrcoef(audio, tone[: len(audio)])[0, 1] > 0.95
