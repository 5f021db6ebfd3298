import builtins
import os
import pickle
import tracemalloc
from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somaseg.errors import InputError
from somaseg.pickles import read_pickle

ARRAYS = OrderedDict(
    floats=np.arange(6, dtype=np.float32).reshape(2, 3),
    columns=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    half=np.array([1.5, -2], np.float16),
    swapped=np.arange(3, dtype=">i4"),
    flags=np.array([True, False]),
    empty=np.zeros((0, 3), np.float32),
    point=np.array(3.0),
)
# What Python 2 wrote for {"blobs": {"conv1_w": float32 [1, 2]}}.
PYTHON_2 = (
    b"\x80\x02}q\x01U\x05blobs}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
    b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbss."
)


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(mark):
    """Pickles that would make the file `mark` if they were run."""
    text = str(mark)
    return {
        "os.system": pickle.dumps({"model": Call(os.system, f"touch {text}")}, 2),
        "eval beside arrays": pickle.dumps({"model": {**ARRAYS, "x": Call(builtins.eval, f"open({text!r}, 'w')")}}),
        "getattr": pickle.dumps({"model": Call(getattr, Call(__import__, "os"), "system")}, 4),
        "partial": pickle.dumps(partial(os.system, f"touch {text}"), 4),
        "open": pickle.dumps([Call(open, text, "w")], 0),
        "inst": f"(S'touch {text}'\nios\nsystem\n.".encode(),
        "obj": f"(cos\nsystem\nS'touch {text}'\no.".encode(),
        "call of what is no name": b"\x80\x04X\x01\x00\x00\x00a)R.",
        "new object": b"\x80\x02cnumpy\nndarray\n\x8a\x05\xff\xff\xff\xff\x00\x85\x81.",
        "state of a name": b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01s\x86b.",
        "another codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00rot_13\x86R.",
        "objects in an array": pickle.dumps({"model": {"x": np.array([Call(os.system, f"touch {text}")])}}),
        "persistent": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "extension": b"\x80\x02\x82\x01.",
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_in_every_protocol(tmp_path, protocol):
    path = tmp_path / "model.pkl"
    content = {"model": ARRAYS, "__author__": "me", "matching_heuristics": True, "iteration": np.int64(3), "lists": [1, (2.5, None, "x")]}
    path.write_bytes(pickle.dumps(content, protocol))
    read = read_pickle(path)
    assert {k: read[k] for k in content if k != "model"} == {k: v for k, v in content.items() if k != "model"}
    assert read["model"].keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read["model"][name], array)
        assert read["model"][name].dtype == array.dtype


def test_names_of_older_and_newer_numpy(tmp_path):
    path = tmp_path / "model.pkl"
    for protocol in (2, 5):
        written = pickle.dumps({"w": ARRAYS["floats"]}, protocol)
        for core in (b"numpy._core", b"numpy.core"):
            # In protocol 5 the length of the name stands before it, and the length of the frame at the start.
            other = written.replace(b"numpy._core", core)
            if protocol == 5 and core == b"numpy.core":
                other = other.replace(b"\x8c\x13numpy.core", b"\x8c\x12numpy.core")
            path.write_bytes(other)
            np.testing.assert_array_equal(read_pickle(path)["w"], ARRAYS["floats"])


def test_a_pickle_of_python_2(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(PYTHON_2)
    assert pickle.loads(PYTHON_2, encoding="latin1")["blobs"]["conv1_w"].tolist() == [1, 2]
    assert read_pickle(path)["blobs"]["conv1_w"].tolist() == [1, 2]


@pytest.mark.parametrize("name", hostile("x"))
def test_a_hostile_pickle_runs_nothing(tmp_path, name):
    path, mark = tmp_path / "model.pkl", tmp_path / "mark"
    path.write_bytes(hostile(mark)[name])
    with pytest.raises(InputError, match=r"model\.pkl: (refused, and nothing in it was run|cannot be read)"):
        read_pickle(path)
    assert not mark.exists()


def test_the_error_names_what_was_asked_for(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(hostile(tmp_path / "mark")["os.system"])
    with pytest.raises(InputError, match=rf"model\.pkl: refused.* asks for `{os.system.__module__}\.system`"):
        read_pickle(path)


BOMBS = {
    "place in memory": b"\x80\x02}r\xff\xff\xff\x7f.",
    "length of bytes": b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00abc.",
    "length of text": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "frame": b"\x80\x04\x95\x00\x00\x00\x00\x00\x01\x00\x00}",
    "shape": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(K\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x85"
    b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R\x89U\x04abcdtb.",
    "text encoded again and again": b"\x80\x02c_codecs\nencode\nq\x00X\x10\x27\x00\x00" + b"a" * 10_000 + b"q\x01("
    + b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" * 2000 + b"l.",
    "keys that take forever": b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 80 + b"0}h\x00Ns.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_little_memory(tmp_path, name):
    path = tmp_path / "model.pkl"
    path.write_bytes(BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(InputError) if name != "place in memory" else pytest.MonkeyPatch.context():
            read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"hello", b"\x80\x04", b"\x80\x04.", b"\x80\x02s.", b"\x80\x02h\x09."])
def test_what_is_no_pickle(tmp_path, content):
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pkl: cannot be read as a pickle of weights .* cut off"):
        read_pickle(path)


def test_an_odd_escape_in_a_name_is_no_warning(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(rb"cnumpy\u" + b"\ndtype\n.")
    with pytest.raises(InputError, match=r"model\.pkl: refused, and nothing in it was run"):
        read_pickle(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_a_pickle_gives_a_result_or_a_clear_error(folder, data):
    content = bytearray(pickle.dumps({"model": {"w": ARRAYS["floats"], "b": ARRAYS["swapped"]}}, data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "model.pkl"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        read_pickle(path)
    except InputError as error:
        assert str(error).startswith(str(path))  # noqa: PT017  both ways are right
