"""The report of a run, written from payloads made by hand."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import ConfigError
from cache.fields import notes
from manifests import schema
from manifests.table import write_table
from stages import report
from stages.contract import Job
from tests.report_run import EVIL, JPEG, Page, Run, make_run, put_metrics, put_probe


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of one's own, to be changed."""
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of the run as it is."""
    return make_run(tmp_path_factory.mktemp("run")).page(note="The backbone is untrained.")


def test_every_setting_enters_the_key() -> None:
    assert {note.kind for note in notes(report.Settings).values()} == {"recipe"}


def test_the_module_is_light_to_import() -> None:
    code = "import sys, stages.report; print(sorted({'numpy', 'matplotlib', 'jinja2', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_same_inputs_give_the_same_bytes(run: Run) -> None:
    first, _ = run.write("one")
    second, _ = run.write("two")
    assert first == second


def test_the_order_of_mappings_does_not_matter(run: Run) -> None:
    first, _ = run.write("one")
    run.videos.reverse()
    run.run["sections"] = dict(reversed(run.run["sections"].items()))
    run.many["intervals"] = dict(reversed(run.many["intervals"].items()))
    assert run.write("two")[0] == first


def test_the_page_asks_for_nothing_outside_itself(page: Page) -> None:
    assert not page.all("link")
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
        assert all(target[0] == "#" for target in re.findall(r"url\((.)", str(attributes)))
    style = page.source.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_security_policy_allows_the_one_script_and_nothing_else(page: Page) -> None:
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    assert len(page.all("script")) == 1


def test_ids_are_unique_and_everything_that_is_referred_to_is_there(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    wanted = set()
    for _, attributes in page.elements:
        wanted |= set(re.findall(r"url\(#([^)]+)\)", str(attributes)))
        wanted |= {attributes["href"][1:]} if "href" in attributes else set()
        wanted |= set(attributes.get("aria-labelledby", "").split())
    assert len(wanted) > 20
    assert wanted <= set(ids)


def test_every_picture_has_words(page: Page) -> None:
    assert all(image["alt"] for image in page.all("img"))
    pictures = page.all("svg")
    # Videos, layers, how often they win, probing scores, threshold, ROC and PR.
    assert len(pictures) == 4 + 5 + 1 + 1 + 1 + 2
    assert all(picture["role"] == "img" and picture["aria-labelledby"] for picture in pictures)
    assert "Highest smoothed score 0.900 at 1.0 s; threshold 0.500." in page.text
    assert "Detected: 1.0 to 2.0 s. Annotated: 1.2 to 2.0 s." in page.text


def test_headline_figures_stand_beside_interval_and_baselines(page: Page) -> None:
    assert "ROC AUC, all frames pooled 81.23 % 75.11 to 86.22 this run 81.23" in page.text
    assert "video label 91.57 ▲" in page.text
    assert "1 / length 65.12 Average" in page.text, "no mark beside a lower baseline"
    assert (
        "1 has a higher ROC AUC than this run and none have a higher average precision" in page.text
    )
    for number in ("66.00", "61.00", "77.00", "12.50", "71.00", "66.70", "41.23"):
        assert number in page.text


def test_an_undefined_figure_is_shown_with_its_reason(run: Run) -> None:
    put_metrics(
        run,
        video_level_auc=None,
        events={"0.5": {"matched": 0, "precision": None, "recall": 0.0, "f1": 0.0}},
        undefined={
            "video_level_auc": "all videos are anomalous",
            "events.0.5.precision": "no interval was detected",
        },
    )
    page = run.page()
    assert "not defined: all videos are anomalous" in page.text
    assert "not defined: no interval was detected" in page.text
    assert "None" not in page.text
    assert "nan" not in page.text.split()


def test_videos_missing_from_the_figures_are_named(run: Run) -> None:
    put_metrics(run, missing={"count": 1, "videos": ["d/broken"]})
    page = run.page()
    assert "1 test video failed and is not in these figures." in page.text
    assert "1 test video failed and is not in these figures d/broken" in page.text


def test_a_figure_that_the_page_does_not_know_is_shown_all_the_same(run: Run) -> None:
    put_metrics(run, brand_new={"deep": 0.125})
    assert "Also in metrics.json brand_new.deep 0.125" in run.page().text


def test_the_choice_of_the_layer_is_shown_with_bins_and_samples(page: Page) -> None:
    assert "The method dlsp chose layer 2 of 0 to 3." in page.text
    assert (
        "64 equal bins over 16 samples (9 normal, 7 anomalous), which allow at most 4.00 bits"
        in page.text
    )
    assert "2 (chosen) 0.4567 0.3000 3.0000 0.2000 4.5000 4.5000" in page.text


def test_a_method_without_a_score_is_said_not_to_choose_by_the_sum(run: Run) -> None:
    put_probe(run, method="fixed:2")
    assert "fixed:2 does not choose by it" in run.page().text


def test_the_probing_scores_are_marked_as_those_of_the_fit(page: Page) -> None:
    assert "These are the rows that the scorer was fitted on" in page.text
    assert "2 normal rows, mean 0.1500; 2 anomalous rows, mean 0.8000" in page.text
    assert "T = 0.5000 = μA + κ σA, with κ = 0.2: no test video takes part in it." in page.text


def test_a_failure_is_a_row(page: Page) -> None:
    assert "1 item failed." in page.text
    assert "d/broken decode ItemError cut short" in page.text
    assert "Videos without scores (1) d/broken" in page.text


def test_without_failures_there_is_no_section_of_them(run: Run) -> None:
    run.run["failed"] = []
    assert not any(s.get("id") == "failures" for s in run.page().all("section"))


def test_a_video_shows_what_was_detected_annotated_and_explained(page: Page) -> None:
    assert "detected 1.0 – 2.0 s (frames 24 to 47; peak 0.900, mean 0.900)" in page.text
    assert "annotated 1.2 – 2.0 s (frames 30 to 47)" in page.text
    assert "Detected interval, 1.0 – 2.0 s Two people fight. Asked: What happens?" in page.text
    assert (
        "Finish reason: length (cut off at the token limit), 7 tokens, seed 3, frames 25 40."
        in page.text
    )
    picture = next(image for image in page.all("img") if image["alt"] == "Frame 12 of a/fight.01")
    assert base64.b64decode(picture["src"].partition(",")[2]) == JPEG


def test_an_explanation_that_failed_says_why(run: Run) -> None:
    run.explain("a/fight.01", "", error="the frames could not be read")
    assert "No explanation: the frames could not be read" in run.page().text


def test_videos_that_are_left_out_are_counted(run: Run) -> None:
    source, result = run.write(videos=1)
    page = Page.of(source)
    assert result.rows == 1
    assert [a["aria-labelledby"] for a in page.all("article")] == ["v0-h"]
    assert "1 of 4 videos with scores are shown." in page.text
    assert "Left out: 1 normal test videos, 2 training or unlabelled videos;" in page.text


def test_no_video_at_all_is_said(run: Run) -> None:
    assert "No video is shown, because report.videos = 0." in run.page(videos=0).text


def test_how_it_was_made_lists_every_recipe_field(page: Page) -> None:
    assert "first The backbone is untrained." in page.text
    assert "localize kappa 0.2125" in page.text
    for text in ("identity f00d", "model tiny", "dtype float32", "attention sdpa", "mu 0.42"):
        assert text in page.text
    assert "The layer and the scorer rest on these 1 alone, with video-level labels" in page.text


def test_a_probing_video_that_failed_took_no_part(run: Run) -> None:
    run.videos[-1] |= {"split": "train", "subset": "probing"}
    assert "1 more failed before the fit and took no part: d/broken." in run.page().text


def drop(*roles: str) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        for role in roles:
            run.inputs.pop(role, None)
            run.many.pop(role, None)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("metrics"), "There are no figures: the 3 labelled test videos were not evaluated"),
        (drop("choice", "table"), "the scorer was fitted elsewhere, at layer 2."),
        (drop("choice", "table"), "The scorer comes from another run."),
        (drop("choice", "table"), "The scorer was fitted in another run"),
        (drop("scorer"), "There is no scorer in this run"),
        (drop("explanations"), "No explanations were made in this run."),
        (drop("timeline"), "3.0 s; highest smoothed score 0.900"),
        (drop("intervals"), "No video of this run has scores."),
        (drop("metrics", "choice", "table", "scorer", "intervals", "explanations", "timeline"),
         "There are no figures"),
    ],
)  # fmt: skip
def test_a_role_that_is_absent_is_explained(
    run: Run, change: Callable[[Run], None], said: str
) -> None:
    change(run)
    assert said in run.page().text


def test_without_labels_the_reason_is_that(run: Run) -> None:
    drop("metrics")(run)
    for video in run.videos:
        video["label"] = None
    assert "no video of the test split has a label" in run.page().text


def test_curves_without_points_are_explained(run: Run) -> None:
    write_table(
        run.inputs["metrics"].path / "curves.parquet", schema.CURVES,
        {"curve": [], "point": [], "x": [], "y": []},
    )  # fmt: skip
    assert "because all test frames carry the same label" in run.page().text


def test_an_outside_scorer_brings_its_probing_scores(run: Run) -> None:
    drop("choice", "table")(run)
    source, result = run.write()
    assert result.notes == ()
    assert "2 normal rows, mean 0.1500" in Page.of(source).text


def test_a_video_without_a_segment_is_refused_by_name(run: Run) -> None:
    run.add_video("e/empty", [])
    with pytest.raises(ConfigError, match="e/empty: expected at least one segment"):
        run.write()


def test_names_and_texts_from_outside_are_only_ever_text(run: Run) -> None:
    run.add_video(f"e/{EVIL}", [0.9, 0.1], class_name=EVIL, intervals=[[0, 24]])
    run.explain(f"e/{EVIL}", f"text {EVIL}", prompt=f"prompt {EVIL}", error=f"error {EVIL}")
    run.run["name"] = f"name {EVIL}"
    run.run["backbone"]["model"] = f"model {EVIL}"
    run.run["sections"]["forward"] = {"prompts": [f"recipe {EVIL}"]}
    run.run["failed"][0] |= {"video_id": f"lost {EVIL}", "message": f"message {EVIL}"}
    put_metrics(
        run,
        per_class={EVIL: {"videos": 1, "auc": None}},
        undefined={f"per_class.{EVIL}.auc": f"reason {EVIL}"},
        missing={"count": 1, "videos": [f"missing {EVIL}"]},
        clipped=[{"video_id": f"clipped {EVIL}", "start_frame": 0, "end_frame": 9, "n_frames": 8}],
    )
    source, _ = run.write(note=f"note {EVIL}")
    page = Page.of(source)
    assert len(page.all("script")) == 1
    assert not [name for _, a in page.elements for name in a if name.startswith("on")]
    assert b"<script>alert" not in source
    shown = ("name", "note", "text", "prompt", "error", "model", "recipe", "lost", "message", "reason",
             "missing", "clipped", "Frame 0 of e/", "Score of e/", "class ", "e/")  # fmt: skip
    everything = page.text + " ".join(image["alt"] for image in page.all("img"))
    for before in shown:
        assert f"{before}{'' if before[-1] in '/ ' else ' '}{EVIL}" in everything, before


def test_a_name_that_is_no_unicode_text_does_not_break_the_page(run: Run) -> None:
    run.run["failed"][0]["video_id"] = "bad \udcff name"
    assert "bad \\udcff name" in run.page().text


def test_progress_counts_the_videos(run: Run) -> None:
    seen: list[tuple[float, float]] = []
    (run.root / "out").mkdir()
    job = Job(
        item="run", settings=report.Settings(videos=2), out=run.root / "out", inputs=run.inputs,
        many=run.many, values={"videos": run.videos, "run": run.run},
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    report.compute(job)
    assert seen == [(1, 2), (2, 2)]
