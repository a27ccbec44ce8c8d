"""The settings of an utterance: declared once, checked by `VocodingConfig`, offered by the command line."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from voirs_vocoder.export.cli.stream import command as stream_command
from voirs_vocoder.export.cli.vocode import command as vocode_command
from voirs_vocoder.runtime import InputError, VocodingConfig
from voirs_vocoder.runtime.config import OPTIONAL_SETTINGS
from voirs_vocoder.runtime.drivers.diffusion import DiffusionDriver
from voirs_vocoder.runtime.drivers.direct import DirectDriver
from voirs_vocoder.runtime.drivers.flow import FlowDriver
from voirs_vocoder.runtime.drivers.settings import (
    UtteranceSettings,
    declared_settings,
    setting,
    setting_names,
)

SETTINGS = declared_settings(VocodingConfig)
RANGED = [declared for declared in SETTINGS if declared.setting.low is not None]
BOUNDED = [declared for declared in RANGED if declared.setting.high is not None]


def by_name(declared):
    return declared.name


def test_every_field_of_the_configuration_is_declared_as_a_setting():
    assert [declared.name for declared in SETTINGS] == [
        field.name for field in dataclasses.fields(VocodingConfig)
    ]


def test_every_optional_setting_is_read_by_a_driver_and_no_driver_reads_another():
    read = DirectDriver.settings | FlowDriver.settings | DiffusionDriver.settings
    assert read == set(OPTIONAL_SETTINGS)


@pytest.mark.parametrize("declared", SETTINGS, ids=by_name)
def test_the_documentation_states_every_setting_with_its_range_and_what_none_means(declared):
    documentation = inspect.getdoc(VocodingConfig)
    assert f"    {declared.name}: {declared.setting.text}" in documentation
    if declared.default is None:
        assert f"None stands for {declared.setting.unset}." in documentation


@pytest.mark.parametrize("command", [vocode_command, stream_command], ids=["vocode", "stream"])
@pytest.mark.parametrize("declared", SETTINGS, ids=by_name)
def test_the_command_line_offers_every_setting_with_the_declared_help(command, declared):
    if command is stream_command and declared.owner is UtteranceSettings:
        pytest.skip("a stream has chunks in place of windows")
    option = next(option for option in command.params if option.name == declared.name)
    assert option.default == declared.default
    assert option.help == declared.setting.text


@pytest.mark.parametrize("declared", RANGED, ids=by_name)
def test_a_value_below_the_range_is_refused_with_value_range_and_remedy(declared):
    below = declared.kind(declared.setting.low) - 1
    with pytest.raises(InputError, match=f"^{declared.name} must be .*, got {below}; leave it out for .+"):
        VocodingConfig(**{declared.name: below})
    VocodingConfig(**{declared.name: declared.kind(declared.setting.low)})


@pytest.mark.parametrize("declared", BOUNDED, ids=by_name)
def test_a_value_above_the_range_is_refused(declared):
    above = declared.kind(declared.setting.high) + 1
    with pytest.raises(InputError, match=f"^{declared.name} must be in "):
        VocodingConfig(**{declared.name: above})
    VocodingConfig(**{declared.name: declared.kind(declared.setting.high)})


@pytest.mark.parametrize("declared", RANGED, ids=by_name)
@pytest.mark.parametrize("value", ["1", float("nan"), True, [1]])
def test_what_is_no_number_is_refused(declared, value):
    with pytest.raises(InputError, match=f"^{declared.name} must be "):
        VocodingConfig(**{declared.name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 2.5}, "steps must be an integer, got 2.5; leave it out for the artifact's default"),
        ({"speed": None}, "speed must be a number, got None; leave it out for 1"),
        ({"betas": 0.1}, "betas must be numbers, got 0.1"),
        ({"betas": ("0.1",)}, "betas must be numbers"),
        ({"sampler": "euler"}, "unknown sampler 'euler'; known: fast, ddpm"),
        ({"schedule": "warp"}, "unknown schedule 'warp'; known: training"),
    ],
)
def test_a_value_of_another_kind_is_refused_in_one_line(values, message):
    with pytest.raises(InputError) as caught:
        VocodingConfig(**values)
    assert str(caught.value).startswith(message)


def test_numbers_of_numpy_are_numbers():
    config = VocodingConfig(seed=np.int64(3), sigma=np.float32(0.5), steps=np.int32(4))
    assert (config.seed, config.steps) == (3, 4)


def test_a_new_setting_is_one_declaration():
    @dataclasses.dataclass(frozen=True)
    class ToySettings:
        reverb: float | None = dataclasses.field(
            default=None, metadata=setting(help="Share of reverberation", low=0.0, high=1.0, unset="0")
        )

    (declared,) = declared_settings(ToySettings)
    assert setting_names(ToySettings) == {"reverb"}
    assert (declared.name, declared.kind) == ("reverb", float)
    assert declared.setting.text == "Share of reverberation, in [0, 1]."
    with pytest.raises(InputError, match=r"reverb must be in \[0, 1\], got 2; leave it out for 0"):
        declared.check(2)
