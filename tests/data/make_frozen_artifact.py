"""Makes `frozen_artifact_v1`: a small artifact of format 1 and the audio that it gave when it was made.

The folder is kept as it is, since every later version must open it; run this only for an artifact of a new format:

    python -m tests.data.make_frozen_artifact
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import MakeOptions
from voirs_vocoder.export.quantize import quantize_artifact
from voirs_vocoder.export.validation.validate import record_validation, validate_artifact
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.runtime import Vocoder
from voirs_vocoder.runtime.effects import load_chain

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "data" / "frozen_artifact_v1"
CONFIG = {
    "resblock": "1",
    "upsample_rates": [4, 4],
    "upsample_kernel_sizes": [8, 8],
    "upsample_initial_channel": 8,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 2, 3]],
    "num_mels": 10,
    "n_fft": 64,
    "hop_size": 16,
    "win_size": 64,
    "sampling_rate": 8000,
    "fmin": 0,
    "fmax": 4000,
}
_FRAMES = 120
_GAIN = 1.0


def _checkpoint(folder: Path) -> Path:
    """A checkpoint whose random weights give audio that is neither silent nor clipped."""
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    torch.manual_seed(0)
    model = HifiGan(HifiGanConfig.from_mapping(CONFIG))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, _GAIN / math.sqrt(weight[0].numel()))
    torch.save({"generator": model.state_dict()}, folder / "generator")
    return folder / "generator"


def _main() -> None:
    samples = ROOT / "artifacts" / "samples"
    root = FOLDER / "artifact"
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = _checkpoint(Path(folder))
        export_artifact(
            ExportRequest(
                "hifigan",
                checkpoint,
                None,
                root,
                licence="CC0-1.0",
                batch=True,
                effects=load_chain("broadcast"),
            )
        )
    quantize_artifact(root, samples / "calibration", options=MakeOptions(targets=("cpu",)))
    record_validation(root, validate_artifact(root, samples))
    (root / ".lock").unlink(missing_ok=True)
    shutil.rmtree(root / ".versions", ignore_errors=True)
    # Log mels of speech lie about there.
    mel = np.random.default_rng(0).uniform(-8.0, 0.0, (CONFIG["num_mels"], _FRAMES)).astype(np.float32)
    np.save(FOLDER / "mel.npy", mel)
    for precision in ("fp32", "int8"):
        with Vocoder.load(root, precision=precision) as vocoder:
            np.save(FOLDER / f"audio_{precision}.npy", vocoder.vocode(mel).samples[0])


if __name__ == "__main__":
    _main()
