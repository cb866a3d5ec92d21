"""Things that mixfast never does with given files: execute them, follow references elsewhere, or send them away. SECURITY.md names the tests."""

import json
import pickle
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mixfast import ExpertTable, MixtureSampler, laws, readers, score
from mixfast.errors import MixfastError, ScoreError
from mixfast.score._loading import load_transformers

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "SECURITY.md"


class Trap:
    """When it is unpickled, it creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.fixture
def sprung(tmp_path):
    """Return the file that exists only if given code was executed."""
    path = tmp_path / "sprung"
    yield path
    assert not path.exists()


def test_pickles_are_never_loaded(tmp_path, sprung):
    objects = np.empty(2, dtype=object)
    objects[:] = [Trap(sprung), Trap(sprung)]
    np.save(tmp_path / "table.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "table.npz", loglik=objects, domains=objects)
    with zipfile.ZipFile(tmp_path / "law.npz", "w") as archive:
        archive.writestr("law.json", pickle.dumps(Trap(sprung)))
    (tmp_path / "mixture.json").write_bytes(pickle.dumps(Trap(sprung)))
    for name in ("table.npy", "table.npz", "law.npz", "mixture.json"):
        for read in (ExpertTable.load, laws.Fit.load, readers.read):
            with pytest.raises(ValueError, match=re.escape(name)):
                read(tmp_path / name)


def test_yaml_makes_no_objects(tmp_path, sprung):
    text = f"web: !!python/object/apply:builtins.open ['{sprung}', w]\n"
    for name in ("mixture.yaml", "counts.yml"):
        (tmp_path / name).write_text(text)
        with pytest.raises(MixfastError, match=re.escape(name)):
            readers.read(tmp_path / name)


def test_python_modules_are_read_and_never_run(tmp_path, sprung):
    (tmp_path / "mixture.py").write_text(f"open({str(sprung)!r}, 'w')\nSHARES = {{'web': 0.5, 'code': 0.5}}\n")
    assert readers.read(tmp_path / "mixture.py").mixture.as_dict() == {"web": 0.5, "code": 0.5}
    (tmp_path / "mixture.py").write_text(f"SHARES = {{'web': open({str(sprung)!r}, 'w')}}\n")
    with pytest.raises(MixfastError, match=r"mixture\.py"):
        readers.read(tmp_path / "mixture.py")


def tokenizer_into(folder):
    """Save a word tokenizer, so that nothing is missing before the model itself is loaded."""
    tokenizers = pytest.importorskip("tokenizers", reason="scoring needs transformers: pip install 'mixfast[score]'")
    words = {"<s>": 0, "the": 1, "cat": 2, "?": 3}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    load_transformers().PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(folder)


def test_code_that_comes_with_a_model_is_never_run(tmp_path, sprung):
    pytest.importorskip("transformers", reason="scoring needs transformers: pip install 'mixfast[score]'")
    tokenizer_into(tmp_path / "own")
    (tmp_path / "own" / "modeling_own.py").write_text(f"open({str(sprung)!r}, 'w')\n")
    own = {
        "AutoConfig": "modeling_own.Own",
        "AutoModelForCausalLM": "modeling_own.Own",
        "AutoTokenizer": "modeling_own.Own",
    }

    def refused(reason, **files):
        for name, content in files.items():
            (tmp_path / "own" / f"{name}.json").write_text(json.dumps({**content, "auto_map": own}))
        with pytest.raises(ScoreError, match=f"expert own: .*{reason}"):
            score.score([tmp_path / "own"], {"texts": ["the cat"]})

    # transformers reads an architecture that it knows, and then finds no weights.
    refused(r"the causal language model in .* cannot be read", config={"model_type": "llama"})
    refused("needs its own code", config={"model_type": "own"})
    refused("needs its own code", config={"model_type": "llama"}, tokenizer_config={"tokenizer_class": "Own"})


def test_pickled_weights_of_a_model_are_never_run(tmp_path, sprung):
    torch = pytest.importorskip("torch", reason="scoring needs torch: pip install 'mixfast[score]'")
    pytest.importorskip("transformers", reason="scoring needs transformers: pip install 'mixfast[score]'")
    transformers = load_transformers()
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(tmp_path / "model")
    tokenizer_into(tmp_path / "model")
    torch.save({"lm_head.weight": Trap(sprung)}, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(
        ScoreError,
        match=r"expert model: .* pickled together with other objects than tensors, which mixfast never loads",
    ):
        score.score([tmp_path / "model"], {"texts": ["the cat"]})


def test_a_state_of_a_sampler_is_plain_data():
    """It can be stored as JSON, so unpickling is never needed."""
    from mixfast import Mixture

    sampler = MixtureSampler(Mixture({"web": 0.5, "code": 0.5}), seed=1)
    state = json.loads(json.dumps(sampler.state(7)))
    assert sampler.check_state(state) == 7


# Run the commands of a session under a Python audit hook, which reports every connection, process and unpickled class.
WATCHED = """
import sys, traceback
heard = []
def hook(event, given):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "urllib.Request",
                 "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class"):
        stack = [frame.filename.replace("\\\\", "/") for frame in traceback.extract_stack()]
        # What others do for themselves: Numba keeps its compiled loops, matplotlib looks for fonts, `platform` asks what system this is.
        if not any(f"/{name}" in file for file in stack for name in ("numba/", "matplotlib/", "platform.py")):
            heard.append((event, str(given)[:200], stack[-3:]))
sys.addaudithook(hook)
from mixfast.cli import main
for words in COMMANDS:
    status = main(words)
    assert status == 0, (words, status)
assert not heard, heard
"""
COMMANDS = [
    ["demo"],
    ["demo", "--copy-to", "."],
    ["info", "demo.npz"],
    ["solve", "demo.npz", "--tokens", "demo_tokens.yaml", "--budget", "512K", "--out", "solved.yaml"],
    ["export", "solved.yaml", "--to", "huggingface"],
    ["collect", "runs", "--out", "collected.csv"],
    ["fit", "demo_ratios.csv", "demo_metrics.csv", "--law", "linear", "--out", "law.json"],
    ["propose", "law.json", "--out", "proposed.yaml"],
    ["design", "--tokens", "demo_tokens.yaml", "--budget", "512K", "--runs", "4", "--out", "runs.csv"],
    ["report", "demo.npz", "--no-intervals", "--out", "page.html"],
    ["reuse", "start", "life.yaml", "--mixture", "solved.yaml"],
]


@pytest.mark.slow
@pytest.mark.process
def test_no_command_connects_starts_a_process_or_unpickles(tmp_path):
    for run in ("r1", "r2"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "trainer_state.json").write_text('{"log_history": [{"step": 1, "eval_loss": 3}]}')
    code = textwrap.dedent(WATCHED).replace("COMMANDS", repr(COMMANDS))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_promise_names_tests_that_exist():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 20
    for file, function in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, f"SECURITY.md names {file}::{function}"
