"""The conversion when something goes wrong around it: killed, no room, no permission, the raw file changed under it.

Every run is ``stemcal convert`` in a forked child, with blocks so small that a small file has many of them. A change
of the raw file happens at a fixed place: behind the first block, while all others are still to be read.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from forked import Ended, run_child, start
from numpy.typing import NDArray

from stemcal.cli import main
from stemcal.convert import raw_digest, run, writing
from stemcal.convert.raw_digest import RawDigest
from stemcal.formats.merlin.layout import inspect_mib
from stemcal.formats.merlin.writer import write_mib, write_series
from stemcal.records import provenance
from stemcal.records.atomic import atomic_path, partial_path

SCAN = (12, 16)
STRIDE = 768 + 64 * 64 * 2
BINNED = ("--settings", '{"bin_detector_px": 2}')
OUTPUTS = ("a_binned.hdf5", "a_convert.json", "a_data.hdf5", "a_overview.png")
NOBODY = 65534
N_KILLS = 50


def counts(n_frames: int, size: int) -> NDArray[np.uint16]:
    rows, cols = np.mgrid[:size, :size]
    radius = np.hypot(rows - size / 2, cols - size / 2)
    expected = 20 / (1 + np.exp((radius - size / 8) / 0.5)) + np.exp(-radius / 20)
    return np.random.default_rng(5).poisson(expected, (n_frames, size, size)).astype(np.uint16)


@pytest.fixture(scope="module")
def stack() -> NDArray[np.uint16]:
    return counts(SCAN[0] * SCAN[1], 64)


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory, stack: NDArray[np.uint16]) -> Iterator[None]:
    """Load here what every child would load again, and leave the commit, which may change meanwhile, out of records."""
    home = tmp_path_factory.mktemp("warm")
    write_mib(home / "a.mib", [stack], scan_shape=SCAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "commit", lambda: None)
        with pytest.MonkeyPatch.context() as undrawn:
            undrawn.setattr(writing, "draw_overview", quick_figure)
            assert main(words(home / "a.mib", home / "out", *BINNED)) == 0
        yield


@pytest.fixture
def raw(tmp_path: Path, stack: NDArray[np.uint16]) -> Path:
    path = tmp_path / "raw" / "a.mib"
    path.parent.mkdir()
    write_mib(path, [stack], scan_shape=SCAN, scan_in_hdr=True)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


def words(raw: Path, folder: Path, *more: str, scan: tuple[int, int] = SCAN) -> list[str]:
    shape = ("--scan-shape", f"{scan[0]},{scan[1]}")
    return ["convert", str(raw), "-o", str(folder / "a_data.hdf5"), "--no-progress", "--threads", "1", *shape, *more]


def quick_figure(path: Path, *parts: object) -> None:
    """Write what depends on the result in the place of the figure: matplotlib takes seconds."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(repr(parts[1]).encode() * 100)


def small_steps(frames_per_block: int = 16) -> None:
    run.plan_blocks = partial(run.plan_blocks, block_bytes=frames_per_block * STRIDE)  # type: ignore[attr-defined]
    writing.draw_overview = quick_figure  # type: ignore[attr-defined]


def behind_first_block(deed: Callable[[], object]) -> None:
    """Do ``deed`` when the first block has been written; with one thread no other one has been read."""
    stream = run.stream_plan  # type: ignore[attr-defined]

    def streamed(*args: Any, **options: Any) -> Iterator[Any]:
        for index, result in enumerate(stream(*args, **options)):
            yield result
            if index == 0:
                deed()

    run.stream_plan = streamed  # type: ignore[attr-defined]


def convert(folder: Path, words: list[str], *before: Callable[[], object], **more: Any) -> Ended:
    return run_child(folder.with_name("said.txt"), words, small_steps, *before, **more)


def refusal(folder: Path, words: list[str], *before: Callable[[], object]) -> str:
    """Return the one sentence of a conversion that is refused and leaves nothing."""
    ended = convert(folder, words, *before)
    assert ended.code == 1, ended.said
    assert ended.said.startswith("stemcal convert: ")
    assert ended.said.count("\n") == 1
    assert not folder.exists() or list(folder.iterdir()) == []
    return ended.said.removeprefix("stemcal convert: ")


# ----------------------------------------------------------------------------------------------- the raw file changes


def copy_over(raw: Path) -> None:
    shutil.copy(raw, raw.with_name("new"))
    raw.with_name("new").replace(raw)


def write_anew(raw: Path) -> None:
    with raw.open("r+b") as file:
        file.write(b"MQ1,000777,")


@pytest.mark.parametrize(
    ("deed", "sentence"),
    [
        (copy_over, "was replaced by another file of the same name; wait until nobody writes to it and run again"),
        (write_anew, "was written anew while it was read: its first header has changed; wait until nobody writes"),
        (
            lambda raw: os.truncate(raw, 100 * STRIDE + 5),
            f"ends at byte {100 * STRIDE + 5}, it had {192 * STRIDE} when",
        ),
        (
            lambda raw: os.truncate(raw, 192 * STRIDE - 1),
            f"ends at byte {192 * STRIDE - 1}, it had {192 * STRIDE} when",
        ),
        (Path.unlink, "was there and is not any more (No such file or directory); wait until nobody writes to it"),
    ],
    ids=["replaced", "rewritten", "truncated", "truncated at its end", "removed"],
)
def test_a_raw_file_that_changes_is_refused(
    raw: Path, folder: Path, deed: Callable[[Path], None], sentence: str
) -> None:
    said = refusal(folder, words(raw, folder, *BINNED), lambda: behind_first_block(lambda: deed(raw)))
    assert said.startswith(f"{raw}: {sentence}")


def test_a_file_that_ends_in_a_frame_and_is_removed_is_refused(raw: Path, folder: Path) -> None:
    os.truncate(raw, 190 * STRIDE + 5)
    said = refusal(folder, words(raw, folder, scan=(19, 10)), lambda: behind_first_block(raw.unlink))
    assert said.startswith(f"{raw}: cannot be read (No such file or directory)")


@pytest.mark.parametrize("frame_bytes", [STRIDE, 2 * 768 + 256 * 256 * 2], ids=["small frames", "large frames"])
def test_an_error_of_the_file_server_names_the_file(
    tmp_path: Path, folder: Path, stack: NDArray[np.uint16], frame_bytes: int
) -> None:
    raw, chips = tmp_path / "raw" / "a.mib", 1 if frame_bytes == STRIDE else 4
    raw.parent.mkdir()
    write_mib(raw, [np.tile(stack, (1, chips, chips))], scan_shape=SCAN, scan_in_hdr=True)

    def stale(*_: object) -> int:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def lose_server() -> None:
        os.preadv = os.pread = stale

    said = refusal(folder, words(raw, folder), lambda: behind_first_block(lose_server))
    assert said.startswith(f"{raw}: cannot be read any more (Stale file handle); wait until nobody writes to it")


@pytest.mark.parametrize(
    ("deed", "sentence"),
    [
        (copy_over, "was replaced by another file of the same name"),
        (lambda part: os.truncate(part, 20 * STRIDE), f"ends at byte {20 * STRIDE}, it had {64 * STRIDE} when it was"),
        (Path.unlink, "cannot be read (No such file or directory)"),
    ],
    ids=["replaced", "truncated", "removed"],
)
def test_of_several_files_the_one_that_changes_is_named(
    tmp_path: Path, folder: Path, stack: NDArray[np.uint16], deed: Callable[[Path], None], sentence: str
) -> None:
    parts = write_series(tmp_path / "a.hdr", [stack], 64, scan_shape=SCAN)
    said = refusal(folder, words(parts[0], folder), lambda: behind_first_block(lambda: deed(parts[2])))
    assert said.startswith(f"{parts[2]}: {sentence}")


def test_of_a_file_that_grows_the_frames_that_were_there_are_converted(
    raw: Path, folder: Path, stack: NDArray[np.uint16]
) -> None:
    whole = raw.read_bytes()
    raw.write_bytes(whole[: 160 * STRIDE + 100])

    def go_on() -> None:
        with raw.open("ab") as file:
            file.write(whole[160 * STRIDE + 100 :])

    ended = convert(folder, words(raw, folder, scan=(10, 16)), lambda: behind_first_block(go_on))
    assert (ended.code, ended.said) == (0, "")
    assert raw.read_bytes() == whole
    record = json.loads((folder / "a_convert.json").read_text())
    assert record["result"]["raw_files"][0]["size_bytes"] == 160 * STRIDE + 100
    flags = {flag["name"]: (flag["value"], flag["limit"]) for flag in record["quality"]["flags"]}
    assert flags["frames_fewer_than_promised"] == (160, 192)
    assert flags["frame_cut"] == (100, 0)
    with h5py.File(folder / "a_data.hdf5") as file:
        found = file["Experiments/a/data"][...]
    np.testing.assert_array_equal(found.reshape(-1, 64, 64), stack[:160, ::-1])


def test_a_digest_that_reads_the_file_again_ends_with_the_pass(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_digest, "_pieces", lambda *_: repeat(b"x"))
    with RawDigest((inspect_mib(raw),)) as digest:
        digest.read_all()


def test_a_file_beside_the_frames_is_not_needed_any_more_once_it_was_read(raw: Path, folder: Path) -> None:
    ended = convert(folder, words(raw, folder), lambda: behind_first_block(raw.with_suffix(".hdr").unlink))
    assert (ended.code, ended.said) == (0, "")


# -------------------------------------------------------------------------------------- outputs that cannot be written


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_is_a_folder_is_refused_before_anything_is_done(raw: Path, folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    ended = convert(folder, words(raw, folder, *BINNED))
    assert ended.code == 1
    assert ended.said.startswith(f"stemcal convert: {folder / name}: Is a directory; check the path")
    assert [path.name for path in folder.iterdir()] == [name]


def nobody() -> None:
    """Drop root's rights, which no permission binds."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that others can enter, unlike that of a test."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_permissions_that_are_missing_are_told(raw: Path, public: Path) -> None:
    shutil.copytree(raw.parent, public / "raw")
    raw, folder = public / "raw" / "a.mib", public / "out"
    raw.chmod(0)
    said = refusal(folder, words(raw, folder), nobody)
    assert said.startswith(f"{raw}: cannot be read (Permission denied); check the path and its permissions")
    raw.chmod(0o644)
    folder.mkdir(mode=0o555)
    assert refusal(folder, words(raw, folder), nobody).startswith(f"{folder / 'a_data.hdf5'}: Permission denied; check")
    folder.rmdir()
    public.chmod(0o555)
    assert refusal(folder, words(raw, folder), nobody).startswith(f"{folder}: Permission denied; check the path")
    public.chmod(0o755)


def mount_small_disk(folder: Path, size_bytes: int) -> None:
    """Mount a file system of that size that ends with this process; `PermissionError` where that is forbidden."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, new_user = 0x00020000, 0x10000000
    user, group = os.getuid(), os.getgid()
    if libc.unshare(new_mounts | new_user):
        raise PermissionError(ctypes.get_errno(), "cannot have mounts of its own")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    folder.mkdir()
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size_bytes}".encode()):
        raise PermissionError(ctypes.get_errno(), "cannot mount")


def fill_disk(folder: Path, bytes_left: int) -> None:
    room = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - bytes_left))


def before(name: str, deed: Callable[[], None]) -> None:
    """Do ``deed`` before a function that writes an output is called."""
    function = getattr(writing, name)

    def called(*args: Any, **options: Any) -> Any:
        deed()
        return function(*args, **options)

    setattr(writing, name, called)


def list_files(folder: Path) -> None:
    sys.stderr.write(" ".join(["left:", *sorted(path.name for path in folder.iterdir())]) + "\n")


@pytest.fixture
def small_disk(folder: Path) -> Callable[..., list[str]]:
    """Convert onto a disk of so many bytes; return what was said, and then the files that are left."""

    def full(size_bytes: int, words: list[str], *prepared: Callable[[], None]) -> list[str]:
        ended = convert(
            folder,
            words,
            lambda: mount_small_disk(folder, size_bytes),
            *prepared,
            after=lambda: list_files(folder),
        )
        folder.rmdir()
        if "PermissionError" in ended.said:
            pytest.skip("mounting is forbidden here")
        assert ended.code == 1, ended.said
        return ended.said.splitlines()

    return full


NO_ROOM = "No space left on device; check the path, its permissions and the free space, then run it again"


def test_a_full_disk_during_the_pass(raw: Path, folder: Path, small_disk: Callable[..., list[str]]) -> None:
    named = set()
    for size_bytes in (4096, 16_384, 300_000, 620_000, 2_600_000):
        said, left = small_disk(size_bytes, words(raw, folder, *BINNED))
        path = said.removeprefix("stemcal convert: ").removesuffix(f": {NO_ROOM}")
        named.add(Path(path).relative_to(folder).as_posix())
        assert left == "left:"
    assert named == {"a_data.hdf5", "a_binned.hdf5"}


def test_a_full_disk_while_the_raw_file_grows(raw: Path, folder: Path, small_disk: Callable[..., list[str]]) -> None:
    for size_bytes in (8192, 100_000):
        said, left = small_disk(size_bytes, words(raw, folder, "--growing"))
        assert said == f"stemcal convert: {folder / '.a_data.growing' / 'chunks'}: {NO_ROOM}"
        assert left == "left: .a_data.growing"


def test_a_full_disk_when_the_figure_is_drawn(raw: Path, folder: Path, small_disk: Callable[..., list[str]]) -> None:
    real, fill = writing.draw_overview, partial(fill_disk, folder, 40_960)

    def draw_really() -> None:
        writing.draw_overview = real
        before("draw_overview", fill)

    said, left = small_disk(2**22, words(raw, folder), draw_really)
    assert said == f"stemcal convert: {folder / 'a_overview.png'}: {NO_ROOM}"
    assert left == "left: a_data.hdf5 ballast", "no record: the conversion is not complete"


def test_a_full_disk_when_the_record_is_written(raw: Path, folder: Path, small_disk: Callable[..., list[str]]) -> None:
    fill = partial(fill_disk, folder, 0)
    said, left = small_disk(2**22, words(raw, folder), lambda: before("write_record", fill))
    assert said == f"stemcal convert: {folder / 'a_convert.json'}: {NO_ROOM}"
    assert left == "left: a_data.hdf5 a_overview.png ballast"


@pytest.mark.parametrize(("name", "file"), [("draw_overview", "a_overview.png"), ("write_record", "a_convert.json")])
def test_a_limit_of_the_file_size_is_told_like_a_full_disk(raw: Path, folder: Path, name: str, file: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    ended = convert(folder, words(raw, folder), lambda: before(name, limit))
    assert (ended.code, ended.said.count("\n")) == (1, 1)
    assert ended.said.startswith(f"stemcal convert: {folder / file}: File too large; check the path")
    assert not (folder / "a_convert.json").exists()
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []


# --------------------------------------------------------------------------------------------------------------- kills

BIG_SCAN = (40, 40)
FILE_EVENTS = {"open", "os.rename", "os.remove", "os.listdir", "os.scandir", "os.mkdir"}


def on_file_event(folder: Path, act: Callable[[int], None]) -> None:
    """Call ``act`` with a running number before each operation of Python's on the files of ``folder``."""
    seen = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in FILE_EVENTS and str(folder) in str(args[0]):
            seen += 1
            act(seen)

    sys.addaudithook(hook)


class Generations:
    """Complete outputs of one file with two sets of settings: of a former run and of the one that is killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.raw = home / "a.mib"
        write_mib(self.raw, [counts(64, 128)] * 25, scan_shape=BIG_SCAN, scan_in_hdr=True)
        self.old, _ = self._make("old", 4)
        begin = time.monotonic()
        self.new, said = self._make("new", 2)
        self.seconds = time.monotonic() - begin
        self.n_events = int(said.split()[-1])

    @staticmethod
    def settings(factor: int) -> str:
        return json.dumps({"bin_detector_px": factor})

    def words(self, folder: Path, factor: int) -> list[str]:
        return words(self.raw, folder, "--settings", self.settings(factor), scan=BIG_SCAN)

    def restore(self, folder: Path) -> None:
        for name, content in self.old.items():
            (folder / name).write_bytes(content)

    def check(self, folder: Path) -> bool:
        """Check that every final name stands for a whole file and the record for all of them; return if it is new."""
        found = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
        for name, content in found.items():
            assert content in (self.old[name], self.new[name]), f"{name} is not whole"
        record = found.get("a_convert.json")
        assert record is None or found == (self.old if record == self.old["a_convert.json"] else self.new)
        return record == self.new["a_convert.json"]

    def _make(self, label: str, factor: int) -> tuple[dict[str, bytes], str]:
        folder, log = self.home / label, self.home / "said.txt"
        done = run_child(log, self.words(folder, factor), large_steps, lambda: on_file_event(folder, print_number))
        assert done.code == 0
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert tuple(sorted(files)) == OUTPUTS
        return files, done.said


def large_steps() -> None:
    small_steps(2**22 // STRIDE)


def print_number(number: int) -> None:
    sys.stderr.write(f"{number}\n")


@pytest.fixture(scope="module")
def generations(tmp_path_factory: pytest.TempPathFactory) -> Generations:
    return Generations(tmp_path_factory.mktemp("kills"))


def killed(
    folder: Path, words: list[str], number: signal.Signals, chance: random.Random, seconds: float, n_events: int
) -> Ended:
    """Run a conversion that is killed within so many seconds, or before one of so many file operations."""
    log = folder.with_name("said.txt")
    if chance.random() < 0.4:
        chosen = chance.randint(1, n_events)

        def act(seen: int) -> None:
            if seen == chosen:
                os.kill(os.getpid(), number)

        return run_child(log, words, large_steps, lambda: on_file_event(folder, act))
    child = start(log, words, large_steps)
    time.sleep(chance.uniform(0, seconds))
    child.send(number)
    return child.wait()


def test_killed_at_any_moment_no_final_name_stands_for_less_than_a_whole_file(
    generations: Generations,
) -> None:
    chance, folder = random.Random(3), generations.home / "out"
    folder.mkdir()
    numbers = [signal.SIGKILL] * (N_KILLS - 12) + [signal.SIGTERM] * 6 + [signal.SIGINT] * 6
    chance.shuffle(numbers)
    codes = []
    for index, number in enumerate(numbers):
        if index % 4 == 0:
            generations.restore(folder)
        hidden = leftovers(folder)
        full = (generations.seconds, generations.n_events)
        ended = killed(folder, generations.words(folder, 2), number, chance, *full)
        codes.append(ended.code)
        orderly = {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, 0)
        assert ended.code in (0, orderly, -number), ended.said
        if generations.check(folder):
            generations.restore(folder)
        if number != signal.SIGKILL:
            assert leftovers(folder) <= hidden, ended.said
        assert len(leftovers(folder)) <= len(OUTPUTS), "one for each output at most"
    assert sum(code != 0 for code in codes) > N_KILLS // 2
    whole = run_child(generations.home / "said.txt", generations.words(folder, 2), large_steps)
    assert (whole.code, whole.said) == (0, "")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == generations.new


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}


def test_a_growing_file_is_converted_whole_though_its_ticks_are_killed(
    generations: Generations, tmp_path: Path
) -> None:
    chance, folder, raw = random.Random(8), tmp_path / "out", tmp_path / "a.mib"
    shutil.copy(generations.raw.with_suffix(".hdr"), raw.with_suffix(".hdr"))
    whole, final = (
        generations.raw.read_bytes(),
        words(raw, folder, "--settings", generations.settings(2), scan=BIG_SCAN),
    )
    codes = []
    for tick in range(1, 17):
        raw.write_bytes(whole[: len(whole) * tick // 16])
        codes.append(killed(folder, [*final, "--growing"], signal.SIGKILL, chance, 0.3, 24).code)
        for path in folder.glob("[!.]*"):
            assert json.loads(path.read_text())["n_frames"] <= tick * 100, path
    assert -signal.SIGKILL in codes
    assert set(codes) <= {0, -signal.SIGKILL}
    done = run_child(tmp_path / "said.txt", final, large_steps)
    assert (done.code, done.said) == (0, "")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == generations.new


def test_leftovers_of_killed_writers_are_removed_and_those_of_others_are_not(tmp_path: Path) -> None:
    final = tmp_path / "a.b" / "a.hdf5"
    final.parent.mkdir()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    mine = partial_path(final)
    dead = mine.with_name(mine.name.replace(str(os.getpid()), str(child)))
    living = mine.with_name(mine.name.replace(str(os.getpid()), "1"))
    away, long_away = final.with_name(".a.node7-1.partial.hdf5"), final.with_name(".a.node7-2.partial.hdf5")
    others = [final.with_name(dead.name.replace(".a.", ".b.")), dead.with_suffix(".json"), final.with_name(".a.x")]
    for path in (dead, living, away, long_away, *others):
        path.write_bytes(b"x")
    os.utime(long_away, (0, 0))
    with atomic_path(final) as temporary:
        temporary.write_bytes(b"whole")
    assert set(final.parent.iterdir()) == {final, living, away, *others}


def test_an_error_of_writing_names_the_file_and_an_error_of_reading_is_left_alone(tmp_path: Path) -> None:
    def fail(error: OSError) -> OSError:
        with pytest.raises(OSError) as caught, atomic_path(tmp_path / "a.json"):
            raise error
        return caught.value

    final = str(tmp_path / "a.json")
    assert fail(OSError(errno.ENOSPC, "no room")).filename == final
    assert fail(PermissionError(errno.EACCES, "no", str(partial_path(tmp_path / "a.json")))).filename == final
    assert fail(OSError(errno.EIO, "broken")).filename is None
    assert fail(FileNotFoundError(errno.ENOENT, "none", "a.mib")).filename == "a.mib"
