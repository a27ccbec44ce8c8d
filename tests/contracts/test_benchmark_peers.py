"""The benchmark against peers: reasons, resuming, failures and tables, on made-up results and scripted processes."""

from __future__ import annotations

import dataclasses
import functools
import io
import sys

import msgspec
import numpy as np
import pytest
import torch

from tests.benchmark.measured import JSON_PATH, MeasuredFigures, measured_page
from tests.benchmark.peers import group, runner, table
from tests.benchmark.peers.cases import PEER_CASES
from tests.benchmark.peers.contract import (
    CHUNK_FRAMES,
    MODES,
    CaseFacts,
    OpenRequest,
    artifact_folder,
    peer_folder,
    read_facts,
    write_facts,
)
from tests.benchmark.peers.goals import best_of_same_quality, goal_rows, tuned
from tests.benchmark.peers.inputs import FULL, QUICK, audio_s, mode_mels
from tests.benchmark.peers.machine_peak import cpu_has_bf16
from tests.benchmark.peers.picture import peers_picture
from tests.benchmark.peers.publish import peer_tables, with_peers
from tests.benchmark.peers.quality import measured_quality
from tests.benchmark.peers.report import case_table, reasons
from tests.benchmark.peers.results import (
    PeerResult,
    Quality,
    Quartiles,
    append_result,
    quartiles,
    read_results,
    results_name,
    source_digest,
)
from tests.benchmark.peers.settings import PeersSettings
from tests.benchmark.peers.synthesis import GraphContender
from tests.benchmark.peers.table import PEERS, reason_not_to_run
from tests.benchmark.peers.torch_peers import torch_networks
from tests.benchmark.peers.turns import Worker, WorkerError, last_line, timed_turns
from tests.benchmark.peers.user_networks import user_networks
from tests.benchmark.peers.worker import WorkerJob, WorkerReply, main
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.family import manifest_of
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.progress import silent


def facts(**changes):
    values = {
        "key": "v2",
        "family": "hifigan",
        "driver": "direct",
        "roles": ("offline",),
        "checkpoint": "model.safetensors",
        "trained": True,
        "precisions": ("fp32", "int8"),
        "gflop_per_s": 3.3,
    }
    return CaseFacts(**{**values, **changes})


DIFFUSION = facts(family="diffwave", driver="diffusion", roles=("conditioner", "step"))


def test_every_case_names_a_family_and_either_random_or_shipped_weights():
    for case in PEER_CASES.values():
        assert (case.random_weights is None) != (case.shipped is None)
        assert case.shipped is None or case.shipped.is_file()


@pytest.mark.parametrize(
    ("peer", "of", "mode", "reason"),
    [
        ("onnxruntime", DIFFUSION, "stream", "windows around the sampler"),
        ("torch-compile", DIFFUSION, "stream", "windows around the sampler"),
        ("sherpa-onnx", facts(), "batch", "one whole utterance at a time"),
        ("sherpa-onnx", facts(family="waveglow"), "offline", "not with waveglow"),
        ("ours-bf16-openvino", facts(), "offline", "no graphs of precision bf16"),
    ],
)
def test_a_peer_that_cannot_run_a_case_states_the_reason(peer, of, mode, reason):
    assert reason in reason_not_to_run(PEERS[peer], of, mode)


def test_our_streams_run_every_driver_and_peers_run_all_else():
    assert reason_not_to_run(PEERS["ours-fp32-cpu"], DIFFUSION, "stream") is None
    assert reason_not_to_run(PEERS["openvino"], DIFFUSION, "batch") is None
    assert reason_not_to_run(PEERS["openvino"], facts(), "stream") is None


def test_a_peer_without_its_package_states_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None)
    reason = reason_not_to_run(PEERS["openvino-nncf"], facts(), "offline")
    assert "nncf is not installed" in reason
    assert "--group bench-peers" in reason


def result(peer, mode="offline", *, rtf=0.02, ratio=1.0, snr_db=100.0, within=None, case="v2", **changes):
    values = {
        "case": case,
        "peer": peer,
        "mode": mode,
        "status": "measured",
        "date": "2026-01-31",
        "rtf": Quartiles(rtf, 0.9 * rtf, 1.1 * rtf, 15),
        "stock_ratio": Quartiles(ratio, 0.9 * ratio, 1.1 * ratio, 15),
        "first_audio_s": 0.5,
        "peak_bytes": 200_000_000,
        "size_bytes": 3_700_000,
        "gflop_per_s": 150.0,
        "versions": {"source": source_digest()} if peer.startswith("ours") else {},
        "quality": Quality(
            snr_db=snr_db,
            lsd=0.8,
            lsd_gained=0.05,
            pesq=1.8,
            pesq_lost=0.01,
            excerpts=3,
            within_gates=within,
        )
        if mode == "offline"
        else None,
    }
    return PeerResult(**{**values, **changes})


def by_key(*results):
    return {each.key: each for each in results}


PEAKS = {"fp32": 300.0, "int8": 250.0}
SOME = by_key(
    result("onnxruntime"),
    result("openvino", rtf=0.016, ratio=1.25),
    result("openvino-bf16", rtf=0.008, ratio=2.5, snr_db=26.0),
    PeerResult(
        case="v2", peer="openvino-nncf", mode="offline", status="not run", reason="nncf is not installed"
    ),
    PeerResult(case="v2", peer="torch-compile", mode="batch", status="failed", reason="no compiler"),
    result("ours-fp32-cpu", rtf=0.018, ratio=1.1, within=True),
    result("ours-int8-cpu", rtf=0.01, ratio=2.0, snr_db=33.5, within=True),
    result("ours-int8-openvino", rtf=0.005, ratio=4.0, snr_db=12.0, within=False),
    result("ours-int8-cpu", "stream", rtf=0.03, ratio=3.0),
)


def test_results_are_read_back_and_a_line_that_was_cut_off_is_measured_again(tmp_path):
    path = tmp_path / "results.jsonl"
    assert read_results(path) == {}
    append_result(path, SOME.values())
    assert read_results(path) == SOME
    path.write_bytes(path.read_bytes()[:-40])
    assert set(read_results(path)) == set(list(SOME)[:-1])
    append_result(path, [result("torch")])
    assert set(read_results(path)) == {*list(SOME)[:-1], ("v2", "torch", "offline")}


def test_a_later_result_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "results.jsonl"
    append_result(path, [result("torch", rtf=1.0), result("torch", rtf=2.0)])
    assert read_results(path)["v2", "torch", "offline"].rtf.median == 2.0


def test_the_file_of_results_is_one_for_machine_versions_threads_and_length(monkeypatch):
    names = {results_name(1, quick=False), results_name(2, quick=False), results_name(2, quick=True)}
    monkeypatch.setattr(
        "tests.benchmark.peers.results.installed_version", lambda package: f"{package} of tomorrow"
    )
    assert len({*names, results_name(2, quick=False)}) == 4


def test_what_failed_or_did_not_run_is_still_missing():
    peers = ["onnxruntime", "openvino-nncf", "torch"]
    assert runner.missing(SOME, "v2", "offline", peers) == ["openvino-nncf", "torch"]


def test_ours_is_missing_once_its_code_has_changed():
    former = result("ours-fp32-cpu", versions={"source": "00000000"})
    now = result("ours-int8-cpu")
    peers = ["ours-fp32-cpu", "ours-int8-cpu"]
    assert runner.missing(by_key(former, now), "v2", "offline", peers) == ["ours-fp32-cpu"]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "measured_peaks", lambda threads: {"fp32": 250.0})
    return PeersSettings(
        output=tmp_path,
        speech=tmp_path,
        cases=("v2",),
        peers=("onnxruntime", "openvino"),
        modes=("batch",),
        threads=1,
        rounds=4,
        budget_s=10.0,
        quick=True,
    )


def test_a_rerun_measures_what_is_missing_and_nothing_else(settings, monkeypatch):
    asked = []

    def measured(settings, facts, mode, names, progress):
        asked.append((mode, tuple(names)))
        return [result(name, mode) for name in names]

    monkeypatch.setattr(runner, "_prepared_case", lambda settings, key, progress: facts())
    monkeypatch.setattr(runner, "_measured", measured)
    runner.run_peers(settings, silent)
    runner.run_peers(settings, silent)
    assert asked == [("batch", ("onnxruntime", "openvino"))]
    more = dataclasses.replace
    runner.run_peers(more(settings, peers=("openvino", "torch"), modes=("batch", "stream")), silent)
    assert asked[1:] == [("batch", ("torch",)), ("stream", ("openvino", "torch"))]
    runner.run_peers(more(settings, remeasure=True), silent)
    assert asked[3:] == [("batch", ("onnxruntime", "openvino"))]


def test_a_case_that_cannot_be_prepared_fails_in_its_rows_alone(settings, monkeypatch):
    monkeypatch.setattr(runner, "_prepare", lambda settings, key, peer: "error: no recordings")
    runner.run_peers(settings, silent)
    found = read_results(settings.results)
    assert {each.status for each in found.values()} == {"failed"}
    assert all(each.reason == "preparing the model: error: no recordings" for each in found.values())


# Stands for worker.py: `openvino` fails as it opens, `torch` in its third run, the others answer.
SCRIPT = """
import json, sys
job = json.loads(sys.argv[1])
if job["peer"] == "openvino":
    sys.exit("RuntimeError: no such operator")
print(json.dumps({"seconds": 0.5, "peak_bytes": 1000}), flush=True)
for number, line in enumerate(sys.stdin):
    if job["peer"] == "torch" and number == 2:
        sys.exit("MemoryError: too large")
    print(json.dumps({"seconds": 0.25, "peak_bytes": 2000}), flush=True)
"""
COMMAND = (sys.executable, "-c", SCRIPT)


def job(peer, **changes):
    values = {
        "folder": "",
        "facts": facts(),
        "peer": peer,
        "mode": "batch",
        "threads": 1,
        "quick": True,
    }
    return WorkerJob(**{**values, **changes})


def test_workers_run_once_per_round_and_one_that_fails_takes_no_further_part():
    with Worker(job("onnxruntime"), COMMAND) as good, Worker(job("torch"), COMMAND) as bad:
        assert good.first_reply() == WorkerReply(seconds=0.5, peak_bytes=1000)
        bad.first_reply()
        times, last, errors = timed_turns({"good": good, "bad": bad}, 4)
    assert {name: list(values) for name, values in times.items()} == {"good": [0.25] * 4}
    assert last["good"].peak_bytes == 2000
    assert errors == {"bad": "MemoryError: too large"}


def test_a_worker_that_does_not_open_ends_with_the_last_line_of_its_error():
    with (
        Worker(job("openvino"), COMMAND) as worker,
        pytest.raises(WorkerError, match="no such operator") as raised,
    ):
        worker.first_reply()
    assert "\n" not in str(raised.value)


def test_a_process_without_a_message_is_described_by_its_status():
    assert "status -9" in last_line("\n", -9)


def test_a_failing_peer_is_a_row_with_its_error_and_the_others_are_measured(settings, monkeypatch):
    monkeypatch.setattr(runner, "_prepared_case", lambda settings, key, progress: facts())
    monkeypatch.setattr(group, "Worker", functools.partial(Worker, command=COMMAND))
    monkeypatch.setattr(
        runner,
        "_result",
        lambda settings, facts, mode, peer, turns, stock: result(
            peer.name, mode, rtf=float(np.median(turns.times_s)), ratio=len(stock.times_s)
        ),
    )
    peers = ("onnxruntime", "openvino", "torch", "ours-bf16-openvino")
    runner.run_peers(dataclasses.replace(settings, peers=peers), silent)
    found = {each.peer: each for each in read_results(settings.results).values()}
    assert found["onnxruntime"].rtf.median == 0.25
    assert found["openvino"].reason == "RuntimeError: no such operator"
    assert found["torch"].reason == "MemoryError: too large"
    assert [found[name].status for name in peers] == ["measured", "failed", "failed", "not run"]
    # The stock export takes part in the rounds of those that are still missing, and keeps its result.
    runner.run_peers(dataclasses.replace(settings, peers=("ours-fp32-cpu",)), silent)
    again = {each.peer: each for each in read_results(settings.results).values()}
    assert again["ours-fp32-cpu"].stock_ratio.median == settings.rounds
    assert again["onnxruntime"] == found["onnxruntime"]


def test_a_table_has_a_row_per_peer_that_ran_and_ours_tuned_per_mode():
    rows = case_table(SOME, "v2", PEAKS)
    assert {len(row) for row in rows} == {len(rows[0])}
    assert [row[0] for row in rows[1:]] == [
        "onnxruntime",
        "openvino",
        "openvino-bf16",
        "ours-fp32-cpu",
        "ours-int8-cpu",
        "ours-int8-openvino",
        "**ours tuned**",
    ]
    best = rows[-1]
    assert best[1:5] == ["0.0100 (0.0090 to 0.0110)", "2.00x", "0.0300 (0.0270 to 0.0330)", "3.00x"]
    assert best[5:7] == ["", ""]
    assert best[7:] == ["0.50 / 0.50", "200", "3.7", "60%", "33.5", "+0.010", "+0.050"]
    assert case_table(SOME, "v1", PEAKS) == rows[:1]


def test_what_did_not_run_stands_below_the_table_with_its_reason():
    more = PeerResult(case="v2", peer="torch-bf16", mode="batch", status="failed", reason="no compiler")
    assert reasons({**SOME, more.key: more}, "v2") == [
        "`torch-bf16`, `torch-compile` (8 utterances) failed: no compiler",
        "`openvino-nncf` (one utterance) not run: nncf is not installed",
    ]


def test_tuned_is_the_fastest_of_ours_within_its_gates():
    assert tuned(SOME, "v2", "offline").peer == "ours-int8-cpu"
    assert tuned(SOME, "v1", "offline") is None


def test_without_the_stock_export_in_every_round_the_least_rtf_is_the_fastest():
    alone = result("ours-fp32-cpu", rtf=0.001, within=True, stock_ratio=None)
    assert tuned({**SOME, alone.key: alone}, "v2", "offline").peer == "ours-fp32-cpu"


def test_a_peer_of_the_same_quality_is_no_faster_one_that_sounds_worse():
    assert best_of_same_quality(SOME, tuned(SOME, "v2", "offline")).peer == "openvino"
    fp32 = result("ours-fp32-cpu", snr_db=150.0, within=True)
    assert best_of_same_quality({**SOME, fp32.key: fp32}, fp32).peer == "openvino"


def test_goals_are_met_or_missed_and_those_of_other_machines_left_out():
    v1 = by_key(
        result("onnxruntime", case="v1", rtf=0.3),
        result("openvino", case="v1", rtf=0.2, ratio=1.5),
        result("ours-int8-cpu", case="v1", rtf=0.1, ratio=3.0, snr_db=30.0, within=True),
    )
    rows = {row[0]: row[1:] for row in goal_rows({**SOME, **v1}, has_amx=False, peaks=PEAKS)[1:]}
    assert rows["v1: times faster than onnxruntime"] == [
        "3.00 (2.45 to 3.67), ours-int8-cpu",
        ">= 2.7",
        "met",
    ]
    assert rows["v1: times faster than openvino"][1:] == [">= 1.4", "met"]
    assert "v1: times faster than openvino-bf16" not in rows
    assert rows["v2: times faster than the fastest peer of the same quality"][2] == "met"
    assert rows["v2, ours-int8-cpu: SNR, dB"] == ["33.5", ">= 33", "met"]
    assert rows["v2, ours-int8-openvino: SNR, dB"][2] == "missed"
    assert rows["v1: RTF"] == [
        "0.1000, ours-int8-cpu, at 60% of the machine's peak",
        "<= 0.02",
        "missed by a factor of 5.0",
    ]
    assert rows["v3: times faster than the fastest peer of the same quality"] == [
        "not measured",
        ">= 1.4",
        "",
    ]
    with_amx = {row[0]: row[2] for row in goal_rows(v1, has_amx=True, peaks=PEAKS)[1:]}
    assert with_amx["v1: times faster than onnxruntime"] == ">= 5"
    assert "v1: times faster than openvino" not in with_amx


def test_the_picture_is_the_same_png_twice():
    titles = {"v2": "V2", "v1": "V1"}
    picture = peers_picture(SOME, titles)
    assert picture.startswith(b"\x89PNG")
    assert picture == peers_picture(SOME, titles)


def test_published_tables_replace_the_earlier_ones_and_no_others():
    tables = peer_tables(
        SOME,
        {"v2": "V2", "v1": "V1"},
        peaks=PEAKS,
        has_amx=False,
        threads=2,
        versions={"torch": "2.13.0"},
    )
    assert [each.id for each in tables] == ["peers-goals", "peers-v2"]
    before = msgspec.json.decode(JSON_PATH.read_bytes(), type=MeasuredFigures)
    once = with_peers(before, tables)
    assert with_peers(once, tables) == once
    kept = [each for each in before.tables if not each.id.startswith("peers-")]
    assert list(once.tables) == [*kept, *tables]
    page = measured_page(once)
    assert "| **ours tuned** | 0.0100 (0.0090 to 0.0110) | 2.00x |" in page
    assert "`openvino-nncf` (one utterance) not run: nncf is not installed" in page


def test_quartiles_are_those_of_the_rounds():
    assert quartiles(np.array([4.0, 1.0, 3.0, 2.0, 5.0])) == Quartiles(3.0, 2.0, 4.0, 5)


def test_bf16_is_found_among_the_instructions_of_the_cpu(tmp_path):
    path = tmp_path / "cpuinfo"
    assert not cpu_has_bf16(path)
    path.write_text("flags\t\t: sse avx512_bf16 avx512_vnni\n", encoding="utf-8")
    assert cpu_has_bf16(path)
    path.write_text("flags\t\t: sse avx512_vnni\n", encoding="utf-8")
    assert not cpu_has_bf16(path)


@pytest.fixture(scope="module")
def tiny_case(tiny_checkpoint, tiny_artifact, tmp_path_factory):
    """A case whose model is the tiny HiFi-GAN."""
    folder = tmp_path_factory.mktemp("peers") / "tiny"
    folder.mkdir()
    artifact_folder(folder).symlink_to(tiny_artifact)
    write_facts(
        folder,
        facts(key="tiny", checkpoint=str(tiny_checkpoint), trained=False, precisions=("fp32", "int8")),
    )
    return folder


def opened(name, folder):
    manifest = Artifact.open(artifact_folder(folder)).manifest
    return PEERS[name].open(OpenRequest(folder, read_facts(folder), manifest, 1)), manifest


def test_ours_and_pytorch_give_the_same_audio_whole_and_in_batches(tiny_case):
    ours, manifest = opened("ours-fp32-cpu", tiny_case)
    eager, _ = opened("torch", tiny_case)
    for mode in ("offline", "batch"):
        mels = mode_mels(manifest, mode, QUICK)
        np.testing.assert_allclose(ours.vocode(mels), eager.vocode(mels), atol=1e-4)


def test_a_stream_goes_on_where_its_first_audio_left_it(tiny_case):
    ours, manifest = opened("ours-fp32-cpu", tiny_case)
    mel = mode_mels(manifest, "stream", QUICK)[0]
    ours.first_chunk(mel)
    for audio in ours.chunks(mel, QUICK.chunks):
        assert audio.size == CHUNK_FRAMES * manifest.hop_length


def test_the_highest_peaks_of_all_runs_are_kept(settings, monkeypatch):
    for found in ({"fp32": 250.0, "int8": 500.0}, {"fp32": 300.0, "int8": 400.0}):
        monkeypatch.setattr(runner, "measured_peaks", lambda threads, found=found: found)
        runner.measure_peaks(settings, silent)
    assert runner.read_peaks(settings) == {"fp32": 300.0, "int8": 500.0}
    settings.results.with_suffix(".peaks.json").write_text("none", encoding="utf-8")
    with pytest.raises(InputError, match="delete the file"):
        runner.read_peaks(settings)


@pytest.mark.parametrize(("family", "folder"), [("vocos", "shared"), ("bigvgan", "shared")])
def test_a_published_form_with_what_its_users_add_gives_our_audio_in_every_row(data_dir, family, folder):
    checkpoint = data_dir / "zoo" / family / folder
    loader = get_family(family)
    module = loader.load(checkpoint, None)
    manifest = manifest_of(family, module, loader.graphs(module))
    mel = np.load(checkpoint / "mel.npy")
    mels = np.stack([mel, mel[:, ::-1]]).copy()
    with torch.inference_mode():
        expected = module(torch.from_numpy(mels))[:, 0].numpy()
    users = user_networks(family, checkpoint)
    request = OpenRequest(checkpoint, facts(family=family, checkpoint=str(checkpoint)), manifest, 1)
    audio = GraphContender(manifest, torch_networks(request), users.transform).vocode(mels)
    np.testing.assert_allclose(audio, expected, atol=1e-4)


def test_windows_of_a_peer_and_our_stream_give_the_audio_of_the_whole(tiny_case):
    ours, manifest = opened("ours-fp32-cpu", tiny_case)
    eager, _ = opened("torch", tiny_case)
    mel = mode_mels(manifest, "stream", QUICK)[0]
    whole = eager.vocode(mel[np.newaxis])[0]
    start = manifest.context_frames * manifest.hop_length
    windows = np.concatenate(list(eager.chunks(mel, QUICK.chunks)))
    assert windows.size == QUICK.chunks * CHUNK_FRAMES * manifest.hop_length
    np.testing.assert_allclose(windows, whole[start : start + windows.size], atol=1e-4)
    streamed = np.concatenate(list(ours.chunks(mel, QUICK.chunks)))
    np.testing.assert_allclose(streamed, whole[: streamed.size], atol=1e-4)
    assert streamed.size
    ours.first_chunk(mel[:, :CHUNK_FRAMES])


def test_a_worker_answers_with_first_audio_runs_and_the_audio_of_the_excerpts(tiny_case, tmp_path):
    manifest = Artifact.open(artifact_folder(tiny_case)).manifest
    mels = mode_mels(manifest, "offline", QUICK)
    eager, _ = opened("torch", tiny_case)
    reference = eager.vocode(mels)
    np.savez(tiny_case / "quality.npz", mels=mels, recordings=reference, reference=reference)
    run = job("ours-int8-cpu", folder=str(tiny_case), facts=read_facts(tiny_case), mode="offline")
    replies = io.BytesIO()
    main(msgspec.json.encode(run).decode(), io.StringIO(f"run\naudio {tmp_path / 'audio.npy'}\n"), replies)
    answers = [msgspec.json.decode(line, type=WorkerReply) for line in replies.getvalue().splitlines()]
    assert len(answers) == 3
    assert all(answer.peak_bytes > 1_000_000 and answer.seconds > 0.0 for answer in answers)
    audio = np.load(tmp_path / "audio.npy")
    quality = measured_quality(tiny_case, audio, PEERS["ours-int8-cpu"], read_facts(tiny_case), manifest)
    assert 5.0 < quality.snr_db < 80.0
    assert quality.within_gates == (quality.snr_db >= 22.0)
    assert (quality.pesq, quality.lsd, quality.excerpts) == (None, None, 1)
    same = measured_quality(tiny_case, reference, PEERS["torch"], read_facts(tiny_case), manifest)
    assert (same.snr_db, same.within_gates) == (150.0, None)
    with pytest.raises(InputError, match="finite audio"):
        measured_quality(tiny_case, audio[:, :-1], PEERS["torch"], read_facts(tiny_case), manifest)


def test_the_files_of_ours_are_the_graphs_of_one_pass(tiny_case):
    names = {
        name: [path.name for path in PEERS[name].files(tiny_case, read_facts(tiny_case))]
        for name in ("ours-fp32-cpu", "ours-int8-cpu", "ours-int8-openvino", "onnxruntime")
    }
    assert names == {
        "ours-fp32-cpu": ["offline.fp32.onnx"],
        "ours-int8-cpu": ["offline.int8.cpu.onnx"],
        "ours-int8-openvino": ["offline.int8.tensorrt.onnx"],
        "onnxruntime": ["offline.onnx"],
    }
    assert peer_folder(tiny_case, "openvino-nncf").parent.name == "peers"


def test_seconds_of_audio_count_every_row(tiny_case):
    manifest = Artifact.open(artifact_folder(tiny_case)).manifest
    second = manifest.sample_rate / manifest.hop_length
    assert audio_s(manifest, "offline", FULL) == pytest.approx(200 / second)
    assert audio_s(manifest, "batch", FULL) == pytest.approx(1600 / second)
    assert audio_s(manifest, "stream", FULL) == pytest.approx(96 / second)
    assert [mode_mels(manifest, mode, FULL).shape[0] for mode in MODES] == [1, 1, 8]
