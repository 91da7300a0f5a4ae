import base64
import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_records import fake_records, write_run
from fm_unroll.commands.report import report
from fm_unroll.errors import InputError
from fm_unroll.evaluation.inference import MIN_SUBJECTS


@pytest.fixture(scope="module")
def made(run, tmp_path_factory) -> Path:
    """The folder of a report of the shared run, made of its rows in another order."""
    out = tmp_path_factory.mktemp("report")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        report(run, out)
    assert "report.html" in printed.getvalue() and "tables (csv, md, tex)" in printed.getvalue()
    return out


def test_everything_is_written(made):
    names = {path.name for path in (made / "tables").iterdir()}
    stems = ("results_knee_Phantom_knee", "worst_knee_Phantom_knee", "published_cardiac_Phantom_heart")
    for stem in (*stems, "crossings", "runs"):
        assert {f"{stem}.csv", f"{stem}.md", f"{stem}.tex"} <= names
    assert {"comparison_ssim_to_random_knee_Phantom_knee.csv", "challenge_knee_Phantom_knee.csv"} <= names
    pictures = {path.stem for path in (made / "figures").glob("*.pdf")}
    assert {"regime_map_ssim", "degradation_ssim", "difference_ssim", "extreme_cases_1", "priors"} <= pictures
    assert "overview" in pictures
    assert {"subjects_ssim_knee_Phantom_knee", "subjects_ssim_cardiac_Phantom_heart"} <= pictures
    assert "panel_knee_Phantom_knee_0.04_x10" in pictures and pictures == {
        path.stem for path in (made / "figures").glob("*.png")
    }


@pytest.fixture(scope="module")
def again(tmp_path_factory, records) -> tuple[Path, str]:
    """A report of the same rows in another order, without companions: its folder, what was printed."""
    folder = tmp_path_factory.mktemp("again")
    records.sample(frac=1, random_state=1).to_csv(folder / "records.csv", index=False)
    code = (
        "import sys; from pathlib import Path; from fm_unroll.commands.report import report;"
        f"report(Path({str(folder / 'records.csv')!r}));"
        "print({'torch', 'lightning', 'timm', 'wandb'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return folder, done.stdout


def test_tables_are_byte_identical_whatever_the_order_of_rows(made, again):
    for path in sorted((made / "tables").iterdir()):
        assert path.read_bytes() == (again[0] / "tables" / path.name).read_bytes(), path.name


def test_a_report_needs_neither_torch_nor_lightning(again):
    assert again[1].splitlines()[-1] == "set()"


def test_nothing_of_the_report_imports_torch():
    code = "import sys, fm_unroll.report.page, fm_unroll.encoders.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_printed_rules_name_the_number_of_subjects_that_the_test_uses(made):
    assert f"with fewer than {MIN_SUBJECTS} subjects there are none" in (made / "report.html").read_text()


def test_sections_without_content_are_left_out(again):
    page = (again[0] / "report.html").read_text()
    assert 'id="wipe-stage"' not in page and "Inside the priors" not in page
    assert not list((again[0] / "figures").glob("panel*"))


def test_the_page_is_self_contained_and_honest(made, run):
    page = (made / "report.html").read_text()
    assert not re.search(r"https?://", page)
    assert set(re.findall(r'(?:src|href)="(data:[a-z/]*|#)', page)) <= {"data:image/webp", "data:", "#"}
    assert page.count("Synthetic data (phantoms): not comparable") > 20
    assert "0123abc" in page and "3 min 12 s" in page  # provenance
    assert "2 training seeds per method" in page
    assert (
        "Satterthwaite&#39;s degrees of freedom" in page
        and "`" not in page[page.index('class="rules"') :][:3000]
    )


def test_the_wipe_holds_as_many_slices_as_can_be_mailed_and_says_how_many(tmp_path, made, monkeypatch):
    titles = re.compile(r'"title": "([^"]*)", "height"')
    all_of_them = titles.findall((made / "report.html").read_text())
    assert len(all_of_them) > 6 and "so that the page can be mailed" not in (made / "report.html").read_text()
    # the highest acceleration of every data set and center comes first
    assert all("\\u00d710:" in title for title in all_of_them[:3])
    small = write_run(tmp_path, fake_records(("varnet",), anatomies=("knee",), subjects=1, seeds=1))
    report(small)
    all_of_them = titles.findall((tmp_path / "report.html").read_text())
    monkeypatch.setattr("fm_unroll.report.page.WIPE_BYTES", 1)
    report(small)
    page = (tmp_path / "report.html").read_text()
    assert titles.findall(page) == all_of_them[:1] and len(all_of_them) > 1
    assert f"the first 1 of these {len(all_of_them)}, so that the page can be mailed" in page


def test_text_from_files_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    records = fake_records(("varnet",), anatomies=("cardiac",), subjects=2, seeds=1, accelerations=(4.0,))
    path = write_run(tmp_path, records.assign(dataset=evil), stored=False)
    (tmp_path / "provenance.json").write_text(json.dumps({"note": evil}))
    report(path)
    assert evil not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("priors.json", "{", "not a json file"),
        ("provenance.json", "[]", "expected an object"),
        ("priors.json", '{"clip": {"fusion": [[1]]}}', "clip: expected the keys"),
        (
            "priors.json",
            '{"clip": {"fusion": [[1, 2]], "step_sizes": [1], "blocks": [1]}}',
            "one weight per block",
        ),
    ],
)
def test_unusable_companions_are_named(tmp_path, name, content, message):
    records = fake_records(("varnet",), anatomies=("knee",), subjects=2, seeds=1, accelerations=(4.0,))
    path = write_run(tmp_path, records, stored=False)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        report(path)
    assert name in str(caught.value)


# --- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for switch in [*switches.split(), "disable-component-update", "disable-sync", "window-size=1200,1000"]:
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


def test_the_slider_wipes_and_nothing_is_fetched(browser, made):
    address = (made / "report.html").as_uri()
    browser.get(address)
    find = lambda name: browser.find_element("id", name)  # noqa: E731
    stage = find("wipe-stage")
    browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    browser.execute_script("arguments[0].scrollIntoView()", stage)

    def seen():
        return (
            Image.open(io.BytesIO(base64.b64decode(stage.screenshot_as_base64))).convert("L").resize((60, 72))
        )

    def names():
        return [find(f"wipe-{side}-tag").text.split(" · ")[0] for side in ("left", "right")]

    def select(name, text):
        find(name).find_element("xpath", f"option[.='{text}']").click()

    assert names() == ["E2E-VarNet", "CLIP"]
    select("wipe-left", "Target")
    select("wipe-right", "Zero-filled")
    assert names() == ["Target", "Zero-filled"]
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    find("wipe-range").send_keys(keys.HOME)
    only_right = seen()
    find("wipe-range").send_keys(keys.END)
    only_left = seen()
    difference = sum(abs(a - b) for a, b in zip(only_left.tobytes(), only_right.tobytes(), strict=True))
    assert difference > 3 * 60 * 72  # more than three gray levels a pixel
    drag = pytest.importorskip("selenium.webdriver").ActionChains(browser)
    drag.move_to_element(stage).click_and_hold().move_by_offset(-60, 0).release().perform()
    assert 10 < float(find("wipe-range").get_property("value")) < 50
    before = seen().tobytes()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", find("wipe-errors"))
    find("wipe-errors").click()
    assert (
        find("wipe-scale").is_displayed()
        and "clipped" in find("wipe-left-tag").text + find("wipe-right-tag").text
    )
    assert seen().tobytes() != before
    second = find("wipe-slice").find_elements("tag name", "option")[1]
    second.click()
    assert names() == ["Target", "Zero-filled"]  # the choice of methods stays
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = [request["request"]["url"] for request in sent if request["documentURL"] == address]
    assert asked and {url.partition(":")[0] for url in asked} <= {"file", "data"}


@contextlib.contextmanager
def viewport(browser, width: int):
    """A window of some CSS pixels width, which headless Chromium has not below 500."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


OPEN = "document.querySelectorAll('details').forEach((element) => { element.open = true; });"


CELLS = """
return [...document.querySelectorAll("td")].filter((cell) => cell.offsetHeight).map((cell) => {
  const { left, right } = cell.getBoundingClientRect();
  const heading = getComputedStyle(cell, "::before").content;
  return [cell.textContent.trim(), heading, left, right, cell.scrollWidth - cell.clientWidth];
});
"""


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_never_scrolls_sideways(browser, made, width):
    with viewport(browser, width):
        browser.get((made / "report.html").as_uri())
        beyond = f"{OPEN} return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(beyond) <= 0


def test_tables_are_stacked_on_a_narrow_screen(browser, made):
    """Each cell is a line of its own with its heading, whole within the screen; figures keep their type."""
    with viewport(browser, 400):
        browser.get((made / "report.html").as_uri())
        cells = browser.execute_script(OPEN + CELLS)
        assert len(cells) > 500
        assert all(0 <= left < right <= 400 and hidden <= 0 for _, _, left, right, hidden in cells)
        first = [before.strip('"') for _, before, *_ in cells[:5]]
        assert first[:3] == ["Acceleration", "Method", "24 ACS lines, SSIM ↑"]
        assert "center fraction 0.04, PSNR ↑" in {before.strip('"') for _, before, *_ in cells}
        assert all(text for text, *_ in cells)  # what is empty takes no line
        figures = "[...document.querySelectorAll('figure:not(.table) img')]"
        widths = browser.execute_script(f"return {figures}.map((img) => [img.width, img.naturalWidth])")
        # 200 pixels of the file are an inch, and 96 of the page: 8 points stay 8 points
        assert widths and all(shown == pytest.approx(96 * own / 200, abs=1) for shown, own in widths)
    with viewport(browser, 1280):
        browser.get((made / "report.html").as_uri())
        heads = "return getComputedStyle(document.querySelector('td')).display"
        assert browser.execute_script(heads) == "table-cell"


# Every text of the page with its colour and the grounds behind it, from the text to the page.
COLORS = """
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
while (walker.nextNode()) {
  const node = walker.currentNode, element = node.parentElement;
  if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
  const grounds = [];
  for (let up = element; up; up = up.parentElement) grounds.push(getComputedStyle(up).backgroundColor);
  found.push([node.textContent.trim().slice(0, 40), getComputedStyle(element).color, grounds]);
}
return found;
"""


def rgba(color: str) -> np.ndarray:
    numbers = [float(number) for number in re.findall(r"[\d.]+", color)]
    return np.array([*(n / 255 for n in numbers[:3]), *(numbers[3:] or [1.0])])


def luminance(color: np.ndarray) -> float:
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("width", [400, 1280])
def test_all_text_of_the_page_stands_clear_of_its_ground(browser, made, width):
    with viewport(browser, width):
        browser.get((made / "report.html").as_uri())
        texts = browser.execute_script(OPEN + COLORS)
    assert len(texts) > 1000
    for text, color, grounds in texts:
        behind = np.ones(3)
        for ground in map(rgba, reversed(grounds)):
            behind = ground[3] * ground[:3] + (1 - ground[3]) * behind
        high, low = sorted((luminance(rgba(color)[:3]), luminance(behind)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, color, grounds)
