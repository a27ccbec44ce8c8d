"""Vocoders that are recognized and not exported, each with the reason and, where there is one, another tool."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from voirs_vocoder.reference_models.errors import CheckpointError
from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen

__all__ = ["REFUSED", "RefusedLayout"]

Test = Callable[[Seen], bool]


@dataclass(frozen=True)
class RefusedLayout:
    """A layout that is recognized in order to state why it is not exported.

    Attributes:
        name: Name of the model and of its trainer, for people.
        matches: Whether files are of this kind.
        reason: Why the model is not exported, and what to use instead.
        family: Always empty, since no family can hold the model.
    """

    name: str
    matches: Test
    reason: str
    family: str = ""

    def recognizes(self, seen: Seen) -> bool:
        """Whether the files are of this kind."""
        return self.matches(seen)

    def read(self, seen: Seen) -> ReadModel:
        """Refuse the model.

        Raises:
            CheckpointError: Always; the message names the model, the reason and the remedy.
        """
        raise CheckpointError(
            f"{seen.package.path}: this is {self.name}, which cannot be exported: {self.reason}"
        )


def _tensor(*patterns: str) -> Test:
    """Every one of these regular expressions matches the end of some tensor's name."""
    return lambda seen: all(seen.has(pattern) for pattern in patterns)


def _architecture(*names: str) -> Test:
    """The configuration of transformers names one of these architectures."""

    def test(seen: Seen) -> bool:
        architectures = seen.config.get("architectures")
        return isinstance(architectures, list) and any(name in architectures for name in names)

    return test


def _value(key: str, *values: object) -> Test:
    """A key of the configuration has one of these values; dots lead into sections."""

    def test(seen: Seen) -> bool:
        found: object = seen.config
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found in values if values else found is not None

    return test


def _text(pattern: str) -> Test:
    """The values of the configuration's sections hold a match of this regular expression."""
    compiled = re.compile(pattern)

    def found(value: object) -> bool:
        if isinstance(value, Mapping):
            return any(found(each) for each in value.values())
        return isinstance(value, str) and compiled.search(value) is not None

    return lambda seen: found(seen.config)


def _any(*tests: Test) -> Test:
    return lambda seen: any(test(seen) for test in tests)


def _all(*tests: Test) -> Test:
    return lambda seen: all(test(seen) for test in tests)


_DYNAMIC_KERNELS = (
    "its convolutions change their kernels with every frame, for which there is neither INT8 nor an exact "
    "stream; run it"
)
_WHOLE_MODEL = "it turns a latent of its own text model into audio, and takes no mel; export the whole model"

REFUSED = (
    RefusedLayout(
        "PriorGrad (microsoft/NeuralSpeech)",
        _all(
            _tensor(r"residual_layers\.0\.dilated_conv\.(?:weight|bias)"),
            _any(
                *(_value(key) for key in ("use_prior", "condition_prior", "std_min", "max_energy_override"))
            ),
        ),
        "it samples from noise that is scaled by each frame's energy, where DiffWave's noise has variance 1, and "
        "takes another mel; sample it with its own code",
    ),
    RefusedLayout(
        "DiffWave of SpeechBrain",
        _tensor(r"residual_layers\.0\.dilated_conv\.conv\.weight", r"diffusion_projection\.w\.weight"),
        "its dilated convolutions pad by reflection, unlike LMNT's DiffWave; train LMNT's DiffWave, or run it in "
        "SpeechBrain",
    ),
    RefusedLayout(
        "DiffWave of philsyn",
        _tensor(r"residual_layer\.residual_blocks\.0\.dilated_conv_layer\.conv\.(?:weight.*|bias)"),
        "its network and its noise schedule differ from LMNT's DiffWave; train that one, or run this one with its "
        "own code",
    ),
    RefusedLayout(
        "XTTS of Coqui",
        _tensor(r"hifigan_decoder\.waveform_decoder\.conv_pre\..*"),
        "its decoder takes latents of a language model and a speaker in every layer, no mel; run the whole model "
        "in Coqui TTS",
    ),
    RefusedLayout(
        "VITS of transformers (MMS-TTS)",
        _any(
            _architecture("VitsModel"),
            _tensor(r"flow\.flows\.0\.wavenet\..*", r"decoder\.upsampler\.0\.weight"),
        ),
        f"{_WHOLE_MODEL} with optimum",
    ),
    RefusedLayout(
        "RVC (retrieval-based voice conversion)",
        _tensor(r"dec\.m_source\.l_linear\.weight", r"dec\.noise_convs\.0\.weight"),
        f"{_WHOLE_MODEL} with RVC's own ONNX export",
    ),
    RefusedLayout(
        "Piper",
        _all(_tensor(r"model_g\.dec\.conv_pre\.weight"), _tensor(r"model_g\.enc_p\..*")),
        f"{_WHOLE_MODEL} with Piper's own ONNX export",
    ),
    RefusedLayout(
        "VITS",
        _tensor(r"dec\.conv_pre\.weight", r"dec\.ups\.0\..*"),
        f"{_WHOLE_MODEL} with sherpa-onnx or Piper",
    ),
    RefusedLayout(
        "CosyVoice's HiFT",
        _tensor(r"f0_predictor\..*", r"source_downs\.0\.weight"),
        "it predicts a pitch and filters a source, and its output depends on a random phase; run it with its own code",
    ),
    RefusedLayout(
        "the decoder of Kokoro or StyleTTS2",
        _tensor(r"(?:decoder|generator|module)\.?.*\.adain1\.0\.fc\.weight"),
        "it takes a style, a pitch and features of its text model, no mel, and normalizes over the whole "
        "utterance; use kokoro-onnx or sherpa-onnx",
    ),
    RefusedLayout(
        "NSF-HiFiGAN (openvpi)",
        _tensor(r"m_source\.l_linear\.weight", r"noise_convs\.0\.weight"),
        "it needs a pitch contour beside the mel; use the ONNX export of openvpi's DiffSinger",
    ),
    RefusedLayout(
        "UnivNet of transformers",
        _any(_architecture("UnivNetModel"), _value("model_type", "univnet")),
        f"{_DYNAMIC_KERNELS} in transformers",
    ),
    RefusedLayout(
        "UnivNet",
        _any(_tensor(r"res_stack\.0\.kernel_predictor\..*"), _value("generator_model", "univnet_generator")),
        f"{_DYNAMIC_KERNELS} with its own code",
    ),
    RefusedLayout(
        "CodeHifiGAN of transformers (SeamlessM4T)",
        _any(
            _architecture(
                "SeamlessM4TCodeHifiGan", "SeamlessM4Tv2CodeHifiGan", "SeamlessM4TModel", "SeamlessM4Tv2Model"
            ),
            _tensor(r"hifi_gan\.conv_pre\.weight", r"unit_embedding\.weight"),
        ),
        "it takes units, a language and a speaker, no mel; run it in transformers",
    ),
    RefusedLayout(
        "CodeHifiGAN or a HiFi-GAN of units",
        _all(_tensor(r"ups\.0\..*"), _tensor(r"(?:dict|unit_embedding|code_embedding)\.weight")),
        "it takes discrete units, no mel; run it with its own code",
    ),
    RefusedLayout(
        "a conditioned HiFi-GAN of Coqui TTS",
        _tensor(r"conv_pre\..*", r"(?:cond_layer|conds\.0|lin_pre)\.weight"),
        "it takes a speaker's embedding beside the mel; run it in Coqui TTS",
    ),
    RefusedLayout(
        "StyleMelGAN of ParallelWaveGAN",
        _any(_value("generator_type", "StyleMelGANGenerator"), _tensor(r"blocks\.0\.tade1\..*")),
        "it normalizes over the whole utterance, so that no part can be computed alone, and needs noise; run it "
        "in ParallelWaveGAN",
    ),
    RefusedLayout(
        "multi-band MelGAN",
        _any(
            _all(
                _value("generator_type", "MelGANGenerator"),
                lambda seen: _value("generator_params.out_channels", 2, 4, 8)(seen),
            ),
            _value("generator_model", "multiband_melgan_generator"),
        ),
        "its bands are joined by a filter bank that this project does not build; train a HiFi-GAN V3, which "
        "costs about as much, or run it in its own library",
    ),
    RefusedLayout(
        "MelGAN",
        _any(
            _value("generator_type", "MelGANGenerator"),
            _value("generator_model", "melgan_generator", "fullband_melgan_generator"),
            _tensor(r"melgan\.1\..*"),
        ),
        "this project does not build its layers; train a HiFi-GAN V3, which costs about as much, or run it in its "
        "own library",
    ),
    RefusedLayout(
        "ParallelWaveGAN's WaveNet",
        _any(
            _value("generator_type", "ParallelWaveGANGenerator"),
            _value("generator_model", "parallel_wavegan_generator"),
            _tensor(r"upsample_net\.upsample\.up_layers\.1\..*", r"first_conv\..*"),
        ),
        "this project does not build its network; train a HiFi-GAN, or run it in its own library",
    ),
    RefusedLayout(
        "WaveGrad or WaveRNN of Coqui TTS",
        _value("generator_model", "wavegrad", "wavernn"),
        "this project does not build its network; train a HiFi-GAN, or run it in Coqui TTS",
    ),
    RefusedLayout(
        "multi-stream or multi-band iSTFT-VITS",
        _tensor(r"dec\.subband_conv_post\..*"),
        f"{_WHOLE_MODEL} with its own code",
    ),
    RefusedLayout(
        "Vocos for EnCodec tokens",
        _any(_tensor(r"backbone\.norm\.scale\.weight"), _text(r"EncodecFeatures")),
        "it takes tokens of EnCodec and a bandwidth, no mel; export a Vocos for mels, or run it in the vocos package",
    ),
)
"""Kinds of models that are refused; the first that matches gives the reason."""
