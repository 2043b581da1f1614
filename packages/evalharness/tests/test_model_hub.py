"""Models named by hub ids: what is in the cache is checked and hashed, what is not is judged by its file list."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import weights_sha256
from medalpaca_evalharness import hub
from medalpaca_evalharness.model_identity import identify_model

COMMIT = "c" * 40
GOOD = ("config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no hub."""
    for name in ("MEDALPACA_SEALED", *hub.OFFLINE_SWITCHES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    hub._list_hub_files.cache_clear()
    yield tmp_path / "hub"
    hub._list_hub_files.cache_clear()


@pytest.fixture
def put(cache):
    """Put a directory's files into the cache as the newest revision of `name`."""

    def copy(name: str, source: Path, commit: str = COMMIT) -> Path:
        repository = cache / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
        return Path(shutil.copytree(source, repository / "snapshots" / commit))

    return copy


@pytest.fixture
def on_hub(monkeypatch):
    """Let the hub answer: with these files, or by raising."""

    def answer(*files: str, error: Exception | None = None, config: Path | None = None) -> None:
        def model_info(self, name, **_):
            if error:
                raise error
            return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=file) for file in files])

        monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(config))

    return answer


@pytest.mark.parametrize("switch", ["MEDALPACA_SEALED", "HF_HUB_OFFLINE"])
def test_offline_the_cached_files_are_checked_and_hashed(tiny, adapter, put, monkeypatch, switch):
    monkeypatch.setenv(switch, "1")
    put("owner/model", tiny)
    put("owner/adapter", adapter)
    found = identify_model({"pretrained": "owner/model", "peft": "owner/adapter"})
    assert (found.base, found.base_sha256) == ("owner/model", weights_sha256(tiny))
    assert (found.adapter, found.adapter_sha256) == ("owner/adapter", weights_sha256(adapter))


def test_the_revision_is_used_and_recorded(tiny, put, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    put("owner/model", tiny)
    assert identify_model({"pretrained": "owner/model", "revision": COMMIT}).base == f"owner/model@{COMMIT}"
    with pytest.raises(UserError, match=r"owner/model: no such model.*HF_HUB_OFFLINE is set"):
        identify_model({"pretrained": "owner/model", "revision": "another"})


def test_the_checked_commit_is_loaded(tiny, adapter, put, on_hub, monkeypatch):
    from medalpaca_evalharness.model.model_type import _pin_revision

    on_hub("config.json", "model.safetensors")
    assert _pin_revision({"pretrained": "owner/model", "peft": str(adapter)}, {}) == {"revision": COMMIT}
    assert _pin_revision({"pretrained": str(tiny), "peft": None}, {}) == {}
    assert _pin_revision({"pretrained": "owner/model", "peft": "owner/adapter"}, {}) == {}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    put("owner/cached", tiny)
    assert _pin_revision({"pretrained": "owner/cached", "peft": None}, {}) == {"revision": COMMIT}


def test_pickles_and_code_in_the_cache_are_refused(tiny, adapter, tiny_of_other_size, put, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pickled = put("owner/pickled", tiny)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        identify_model({"pretrained": "owner/pickled"})
    coded = put("owner/coded", tiny)
    (coded / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "x.X"}}))
    with pytest.raises(UserError, match="auto_map"):
        identify_model({"pretrained": "owner/coded"})
    put("owner/other", tiny_of_other_size)
    with pytest.raises(UserError, match="another base"):
        identify_model({"pretrained": "owner/other", "peft": str(adapter)})


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        (("config.json", "pytorch_model.bin"), {}, "no .*safetensors.*pytorch_model.bin can run code"),
        (("README.md",), {}, "no config.json, so this is not a valid model"),
        (GOOD, {"subfolder": "unet"}, "unet: no config.json"),
        (GOOD, {"variant": "fp16"}, "no .*safetensors"),
        (("config.json", "old/model.safetensors"), {}, "no .*safetensors"),
    ],
)
def test_the_file_list_is_checked_before_a_download(on_hub, tiny, files, arguments, message):
    on_hub(*files, config=tiny / "config.json")
    with pytest.raises(UserError, match=message):
        identify_model({"pretrained": "owner/model"} | arguments)


def test_safetensors_are_allowed_and_hashed_after_the_download(on_hub, put, tiny, adapter):
    on_hub(*GOOD, config=tiny / "config.json")
    assert identify_model({"pretrained": "owner/model"}).base_sha256 is None
    put("owner/model", tiny)  # as loading the model does, before the documents are made
    assert identify_model({"pretrained": "owner/model"}).base_sha256 == weights_sha256(tiny)


def test_an_outdated_cached_revision_is_not_used(on_hub, put, tiny):
    put("owner/model", tiny, commit="a" * 40)
    on_hub(*GOOD, config=tiny / "config.json")
    assert identify_model({"pretrained": "owner/model"}).base_sha256 is None


def test_an_incomplete_download_is_ignored(on_hub, put, tiny):
    index = put("owner/model", tiny) / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "missing.safetensors"}}))
    on_hub(*GOOD, config=tiny / "config.json")
    assert identify_model({"pretrained": "owner/model"}).base_sha256 is None


def test_code_on_the_hub_is_refused(on_hub, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auto_map": {"AutoConfig": "x.X"}}))
    on_hub(*GOOD, config=config)
    with pytest.raises(UserError, match="auto_map"):
        identify_model({"pretrained": "owner/model"})


def test_an_adapter_on_the_hub(on_hub, tiny):
    on_hub("adapter_config.json", "adapter_model.bin")
    with pytest.raises(UserError, match=r"adapter_model\.bin can run code"):
        identify_model({"pretrained": str(tiny), "peft": "owner/pickled"})
    on_hub("adapter_config.json", "adapter_model.safetensors", "training_args.bin")
    assert identify_model({"pretrained": str(tiny), "peft": "owner/adapter"}).adapter == "owner/adapter"


def test_an_unresponsive_hub(on_hub, put, tiny):
    on_hub(error=TimeoutError("too slow"))
    with pytest.raises(UserError, match=r"not a local directory, not in the hub's cache.*too slow"):
        identify_model({"pretrained": "owner/model"})
    put("owner/model", tiny)
    assert identify_model({"pretrained": "owner/model"}).base_sha256 == weights_sha256(tiny)
