"""The settings of models: engine, token and remote servers, for a site and for the commands without one."""

import pytest

from csss.foundation.settings import SettingsError, load_model_settings
from csss.foundation.thresholds import SiteThreshold
from csss.inference.engines import EngineChoice

TOKEN = "q9Zr2LwX7vTn4KbY8mHd3GpF6jQs5ce1"
GPU_TOKEN = "w3Nb8yQe"
TOKENS_RULE = (
    "CSSS_REMOTE_TOKENS must read NAME=TOKEN[,NAME=TOKEN...], each name once and one of CSSS_REMOTE_MODELS, "
    "each token of visible ASCII without a comma"
)
TOKEN_RULE = "CSSS_INFERENCE_TOKEN must be at least 32 unguessable characters"
REMOTE_RULE = (
    "CSSS_REMOTE_MODELS must read NAME=ADDRESS[,NAME=ADDRESS...], each name once, each address https "
    "(http on this machine only) and without a password, query or fragment"
)


def test_models_need_no_setting() -> None:
    settings = load_model_settings({})
    assert (settings.inference.engine, settings.inference.token) == ("onnx", None)
    assert (settings.remote.addresses(), settings.remote.tokens_by_name()) == ({}, {})
    assert (settings.model_path, settings.thresholds()) == (None, ())


def test_models_take_their_own_settings_and_leave_the_sites_alone() -> None:
    environ = {
        "CSSS_INFERENCE_ENGINE": "openvino",
        "CSSS_INFERENCE_TOKEN": TOKEN,
        "CSSS_REMOTE_MODELS": "chest=http://127.0.0.1:8001, gate=https://gpu.hospital.example:8443/x",
        "CSSS_REMOTE_TOKENS": f"gate={GPU_TOKEN}, chest=another-token==",
        "CSSS_CONFIDENCE_THRESHOLD": "chest/1=0.9",
        "CSSS_SECRET_KEY_FILE": "/does/not/exist",
        "CSSS_HOST": "0.0.0.0",
    }
    settings = load_model_settings(environ)
    assert (settings.inference.engine, settings.inference.token) == ("openvino", TOKEN)
    assert settings.remote.addresses() == {
        "chest": "http://127.0.0.1:8001",
        "gate": "https://gpu.hospital.example:8443/x",
    }
    assert settings.thresholds() == (SiteThreshold("chest", "1", 0.9),)
    assert settings.remote.tokens_by_name() == {"gate": GPU_TOKEN, "chest": "another-token=="}
    choice = EngineChoice.of("onnx", settings.remote.addresses(), settings.remote.tokens_by_name())
    assert choice.remote["gate"].token == GPU_TOKEN
    assert choice.remote["chest"].token == "another-token=="
    for secret in (TOKEN, GPU_TOKEN, "another-token"):
        assert secret not in repr((settings, choice))


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"CSSS_INFERENCE_ENGINE": "abacus"}, "CSSS_INFERENCE_ENGINE: Input should be 'onnx' or 'openvino'"),
        ({"CSSS_INFERENCE_TOKEN": ""}, TOKEN_RULE),
        ({"CSSS_INFERENCE_TOKEN": TOKEN[:-1]}, TOKEN_RULE),
        ({"CSSS_INFERENCE_TOKEN": "x" * 40}, TOKEN_RULE),
        ({"CSSS_INFERENCE_TOKEN": "é" + TOKEN}, TOKEN_RULE),
        (
            {"CSSS_CONFIDENCE_THRESHOLD": "chest/1=2"},
            "CSSS_CONFIDENCE_THRESHOLD: a threshold is a number from 0.5 up to, not with, 1",
        ),
        ({"CSSS_REMOTE_MODELS": "chest"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "=https://h"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=h:8001"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=http://gpu.hospital.example"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=ftp://127.0.0.1"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://user:word@h"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://:word@h"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://h?x=1"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://h#x"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://h:99999"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://[h"}, REMOTE_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://a,chest=https://b"}, REMOTE_RULE),
        ({"CSSS_REMOTE_TOKENS": f"chest={GPU_TOKEN}"}, TOKENS_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://a", "CSSS_REMOTE_TOKENS": GPU_TOKEN}, TOKENS_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://a", "CSSS_REMOTE_TOKENS": f"gate={GPU_TOKEN}"}, TOKENS_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://a", "CSSS_REMOTE_TOKENS": "chest="}, TOKENS_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://a", "CSSS_REMOTE_TOKENS": "chest=a b"}, TOKENS_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://a", "CSSS_REMOTE_TOKENS": "chest=a\nX: b"}, TOKENS_RULE),
        ({"CSSS_REMOTE_MODELS": "chest=https://a", "CSSS_REMOTE_TOKENS": "chest=a,chest=b"}, TOKENS_RULE),
    ],
)
def test_model_setting_that_is_wrong_is_named(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_model_settings(environ)
    assert refused.value.message == f"The configuration cannot be used: {problem}"
