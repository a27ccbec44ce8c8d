"""The report page: one file without a network, in a real browser: it plays, switches in place, and counts rightly."""

import json
import os
import re
import shutil
import time

import numpy as np
import pytest
from scipy.stats import binomtest

from voirs_vocoder.export.report_page import (
    PageClip,
    PageColumn,
    PageContent,
    PageRow,
    PageUtterance,
    render_page,
)
from voirs_vocoder.export.report_page.pictures import decibels, error_histogram, worst_moment
from voirs_vocoder.export.validation.kept_audio import KeptAudio
from voirs_vocoder.export.validation_run import validate_and_record
from voirs_vocoder.runtime import Artifact, InputError

RATE = 22_050
HOSTILE = "</script><img src=x onerror=alert(1)>"


def tone(hz, seconds=2.0, amplitude=0.3):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def utterance(name, hz):
    clean = tone(hz)
    worse = clean.copy()
    worse[10_000:10_100] += 0.1
    clips = (PageClip("recording", clean), PageClip("reference", clean * 1.0), PageClip("fp32", clean + 1e-4))
    return PageUtterance(
        name, RATE, (*clips, PageClip("int8", worse, (("SNR dB", "30.0"),))), reference="reference"
    )


def content(name="one.flac"):
    return PageContent(
        title=f"model {HOSTILE}",
        subtitle="2 recordings",
        passed=False,
        verdict="1 of 2 graphs misses a gate.",
        columns=(PageColumn("graph", numeric=False), PageColumn("SNR dB", "higher is closer")),
        rows=(
            PageRow(("fp32", "100"), "passed"),
            PageRow(("int8", "12"), "failed", ("snr_db must be at least 22, 12",)),
        ),
        notes=("a note",),
        rtf=(("fp32", 0.02), ("int8", 0.01)),
        utterances=(utterance(name, 300.0), utterance("two.flac", 500.0)),
        provenance=(("Checkpoint", "0123"),),
    )


def test_everything_is_inside_and_nothing_untrusted_is_markup():
    page = render_page(content(HOSTILE)).decode()
    assert HOSTILE not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "default-src 'none'" in page
    assert "snr_db must be at least 22, 12" in page


def test_the_same_content_gives_the_same_bytes():
    assert render_page(content()) == render_page(content())


def test_the_worst_moment_and_the_errors_are_found():
    clips = utterance("x", 300.0).clips
    start, length = worst_moment(clips[1].samples, clips[3].samples, RATE)
    assert start <= 10_000
    assert start + length >= 10_100
    largest, counts = error_histogram(clips[1].samples, clips[3].samples)
    assert largest == pytest.approx(0.1, rel=1e-4)
    assert counts[-1] == 100
    assert sum(counts) == clips[1].samples.size


def test_a_full_scale_sine_is_at_0_db():
    assert decibels(tone(1000.0, amplitude=1.0)).max() == pytest.approx(0.0, abs=1.5)


def test_clips_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="equally long"):
        PageUtterance("x", RATE, (PageClip("a", tone(1)), PageClip("b", tone(1)[:5])), "a")


@pytest.fixture(scope="module")
def browser():
    driver_path, binary = shutil.which("chromedriver"), shutil.which("chromium")
    if driver_path is None or binary is None:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver must be installed where CI runs")
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--autoplay-policy=no-user-gesture-required",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(render_page(content()))
    return path


@pytest.fixture
def opened(browser, page_path):
    """The page in the browser, its first utterance decoded; at the end, no error was logged."""
    browser.get("about:blank")
    browser.get(f"{page_path.as_uri()}#abx-seed=7")
    wait(browser, "return voirs.stage.player.duration > 1.9")
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def wait(browser, condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not browser.execute_script(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


def test_it_loads_and_shows_the_verdict(opened):
    assert "model </script>" in opened.title
    assert "Failed" in opened.find_element("css selector", ".badge").text
    assert opened.find_element("css selector", "td.failed").is_displayed()


def test_it_plays_and_pauses(opened):
    button = opened.find_element("css selector", ".play")
    button.click()
    wait(opened, "return voirs.stage.player.position > 0.3")
    assert button.text == "Pause"
    button.click()
    position = opened.execute_script("return voirs.stage.player.position")
    time.sleep(0.2)
    assert opened.execute_script("return voirs.stage.player.position") == position
    assert 0.3 < position < 2.0


def test_switching_goes_on_at_the_same_position_with_only_the_chosen_clip_heard(opened):
    opened.execute_script("voirs.stage.player.setLoop(true)")
    opened.find_element("css selector", ".play").click()
    wait(opened, "return voirs.stage.player.position > 0.2")
    before, after = opened.execute_script(
        "const p = voirs.stage.player; const b = p.position; voirs.stage.hear(3); return [b, p.position];"
    )
    assert after - before < 0.05
    wait(opened, "return voirs.stage.player.gains[3].gain.value === 1")
    assert opened.execute_script("return voirs.stage.player.gains.map((g) => g.gain.value)") == [0, 0, 0, 1]
    pressed = opened.find_elements("css selector", "#stage [aria-pressed=true]")
    assert [button.text.removesuffix("4") for button in pressed] == ["int8"]
    assert "30.0" in opened.find_element("css selector", ".facts").text


def test_clips_are_decoded_as_they_were_written(opened):
    samples = opened.execute_script(
        "return Array.from(voirs.stage.player.buffers[3].getChannelData(0).slice(9990, 10010))"
    )
    expected = utterance("x", 300.0).clips[3].samples[9990:10010]
    np.testing.assert_allclose(samples, expected, atol=2 / 32768)


def test_keys_switch_and_another_recording_can_be_chosen(opened):
    body = opened.find_element("css selector", "body")
    body.send_keys("3")
    assert opened.execute_script("return voirs.stage.heard") == 2
    opened.execute_script("return voirs.stage.choose(1)")
    wait(opened, "return !voirs.stage.playButton.disabled && voirs.stage.index === 1")
    assert opened.execute_script("return voirs.stage.utterance.name") == "two.flac"


@pytest.mark.parametrize(("wrong", "heard"), [(0, True), (5, False)])
def test_a_blind_test_counts_rightly_and_its_p_value_is_the_binomial_one(opened, wrong, heard):
    root = opened.find_element("id", "abx")
    root.find_element("xpath", ".//button[text()='Start']").click()
    for trial in range(10):
        wait(
            opened,
            f"return voirs.blind.answers.length === {trial} && voirs.blind.player.buffers.length === 3",
        )
        root.find_element("xpath", ".//button[text()='X']").click()
        x = opened.execute_script("return voirs.blind.x")
        # What X is, is what it sounds like.
        assert opened.execute_script(
            "const [a, b, x] = voirs.blind.player.buffers.map((each) => each.getChannelData(0));"
            "const same = (one) => one.every((value, index) => value === x[index]);"
            "return [same(a), same(b)];"
        ) == [x == "A", x == "B"]
        answer = x if trial >= wrong else {"A": "B", "B": "A"}[x]
        root.find_element("css selector", f"[name=x-is-{answer}]").click()
    wait(opened, "return voirs.blind.answers.length === 10 && Boolean(voirs.blind.download)")
    expected = binomtest(10 - wrong, 10, 0.5, alternative="greater").pvalue
    assert f"{10 - wrong} of 10 right" in root.text
    assert ("can be told apart" in root.text) == heard
    result = json.loads(
        opened.execute_async_script("const done = arguments[0]; voirs.blind.file.text().then(done);")
    )
    assert result["p_value"] == pytest.approx(expected, rel=1e-9)
    assert [entry["right"] for entry in result["answers"]].count(False) == wrong
    assert {entry["x"] for entry in result["answers"]} == {"A", "B"}
    assert opened.execute_script("return voirs.blind.download.href").startswith("blob:")


def test_guessing_is_the_tail_of_the_binomial_distribution(opened):
    for trials in (1, 10, 37):
        for right in (0, trials // 2, trials):
            found = opened.execute_script(f"return voirs.guessing({right}, {trials})")
            assert found == pytest.approx(binomtest(right, trials, 0.5, alternative="greater").pvalue)


def test_validation_keeps_a_page_that_opens(browser, tiny_artifact, tmp_path, sample_recordings):
    root = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    (tmp_path / "speech").mkdir()
    shutil.copy(sample_recordings[0], tmp_path / "speech")
    validate_and_record(root, tmp_path / "speech")
    assert all(problem is None for _, problem in Artifact.open(root).verify())
    browser.get((root / "validation" / "report.html").as_uri())
    wait(browser, "return voirs.stage.player.duration > 1")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_only_so_many_recordings_are_kept():
    with KeptAudio(1) as heard:
        for name in ("a", "b"):
            heard.keep_recording(name, tone(300.0), RATE)
            heard.keep(name, "fp32", tone(400.0))
        assert list(heard.recordings) == ["a"]
        np.testing.assert_array_equal(heard.audio("a", "fp32"), tone(400.0))
