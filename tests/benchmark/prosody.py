"""`python -m tests.benchmark.prosody`: do speed and pitch sound better in the mel or in the audio?"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.export.validation.speech import load_speech
from voirs_vocoder.runtime import Artifact, Vocoder, VocodingConfig
from voirs_vocoder.runtime.metrics.dnsmos import dnsmos
from voirs_vocoder.runtime.progress import ConsoleProgress

__all__ = ["main"]

_SETTINGS = (
    *(VocodingConfig(speed=speed) for speed in (0.7, 0.85, 1.2, 1.5)),
    *(VocodingConfig(pitch_semitones=semitones) for semitones in (-4.0, -2.0, 2.0, 4.0)),
)


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--speech", type=click.Path(path_type=Path), required=True, help="Folder of recordings.")
def main(root: Path, speech: Path) -> None:
    """DNSMOS of what the artifact ROOT makes of recordings at other speeds and pitches.

    "mel" is what `vocode --speed` and `--pitch-semitones` do, "audio" the plain audio through Signalsmith Stretch
    (python-stretch).
    """
    utterances = load_speech(speech, Artifact.open(root).manifest)
    rows = [["speed", "semitones", "mel", "audio"]]
    with Vocoder.load(root) as vocoder, ConsoleProgress() as progress:
        rate = vocoder.metadata.sample_rate
        for number, config in enumerate(_SETTINGS):
            progress("speaking", number, len(_SETTINGS))
            means = np.zeros(2)
            for utterance in utterances:
                plain = vocoder.vocode(utterance.mel).samples[0]
                changed = vocoder.vocode(utterance.mel, config).samples[0]
                for place, audio in enumerate((changed, _stretched(plain, rate, config))):
                    means[place] += dnsmos(audio, rate).ovrl / len(utterances)
            rows.append([f"{config.speed:g}", f"{config.pitch_semitones:g}", *(f"{m:.2f}" for m in means)])
    print_table(rows)


def _stretched(audio: NDArray[np.float32], rate: int, config: VocodingConfig) -> NDArray[np.float32]:
    stretch = import_module("python_stretch").Signalsmith.Stretch()
    stretch.preset(1, rate)
    stretch.setTimeFactor(config.speed)
    stretch.setTransposeSemitones(config.pitch_semitones)
    made: NDArray[np.float32] = stretch.process(audio[np.newaxis])[0]
    return made


if __name__ == "__main__":
    main()
