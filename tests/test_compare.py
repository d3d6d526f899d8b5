"""`selfsyn compare`: the arithmetic of the table, what its rows differ in, what they share, and how it goes on."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_run import make, selfsyn_here

from selfsyn import config as configuration
from selfsyn.compare.budget import budget, cost, needed
from selfsyn.compare.levers import LEVERS
from selfsyn.compare.page import headline
from selfsyn.compare.plan import Entry, chosen, donors, entry, lay_out, present, share_caches, with_net
from selfsyn.compare.results import change, collect, gap_share, mean, spread
from selfsyn.compare.rows import ROWS, ablations
from selfsyn.compare.sharing import fingerprints
from selfsyn.config import Rival, RunConfig, Task, load
from selfsyn.data.frames import dataset
from selfsyn.errors import InputError
from selfsyn.files import digest_bytes, write_atomic, write_json
from selfsyn.flow import Phase, phases
from selfsyn.images import encode_label_png
from selfsyn.layout import Layout
from selfsyn.phase import begin, finish, open_run
from selfsyn.stage import Stage
from selfsyn.task.schedule import schedule_of

SHOWN = [row for row in ROWS if row.name != "ours-teacher"]  # the run has no student
NAMES = [row.name for row in SHOWN]
SCORES = {  # mIoU by row, for seeds 0 and 1
    "source-only": (0.30, 0.34),
    "adabn": (0.31, 0.33),
    "cycada": (0.33, 0.36),
    "adaptsegnet": (0.32, 0.36),
    "mrnet": (0.33, 0.35),
    "seg-uncertainty": (0.35, 0.38),
    "ours": (0.38, 0.40),
    "oracle": (0.40, 0.44),
}


def test_the_arithmetic_by_hand() -> None:
    values = {0: 0.1, 1: 0.2, 2: 0.6}
    assert mean(values) == pytest.approx(0.3)
    # Deviations -0.2, -0.1, 0.3: squares 0.04 + 0.01 + 0.09 = 0.14, over n - 1 = 2.
    assert spread(values) == pytest.approx(0.07**0.5)
    assert spread({5: 0.4}) is None
    assert change(values, {1: 0.1, 2: 0.3, 7: 9.0}) == pytest.approx((0.2, 2))
    assert change(values, {7: 1.0}) is None


def test_the_share_of_the_gap_by_hand() -> None:
    source, oracle = {0: 0.2, 1: 0.4}, {0: 0.6, 1: 0.8, 2: 1.0}
    # Of the means over seeds 0 and 1: (0.55 - 0.3) / (0.7 - 0.3).
    assert gap_share({0: 0.5, 1: 0.6, 2: 0.1}, source=source, oracle=oracle) == pytest.approx((0.625, 2))
    # A row with one seed is compared with that seed of the bounds: (0.5 - 0.2) / (0.6 - 0.2).
    assert gap_share({0: 0.5}, source=source, oracle=oracle) == pytest.approx((0.75, 1))
    assert gap_share({0: 0.1}, source=source, oracle=oracle) == pytest.approx((-0.25, 1))
    assert gap_share({3: 0.5}, source=source, oracle=oracle) == (None, 0)


def test_an_oracle_that_is_no_better_leaves_no_gap() -> None:
    assert gap_share({0: 0.5}, source={0: 0.4}, oracle={0: 0.4}) == (None, 1)
    assert gap_share({0: 0.5}, source={0: 0.4}, oracle={0: 0.3}) == (None, 1)


PLAIN = ("rounds.start=warm", "rounds.adabn_share=0.0")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with an odd budget of 7 + 3 * 4 = 19 updates, in batches of 2 of which one image is pseudo-labelled."""
    return make(
        tmp_path / "run",
        "train.steps=7",
        "rounds.steps=4",
        "rounds.real_share=[0.0, 0.5, 0.5]",
        "rounds.learning_rate=3e-4",
        *PLAIN,
    )


def entry_of(run: Path, name: str, *, seed: int = 0, rounds: int = 2) -> Entry:
    layout, config = Layout(run), load(run / "run.toml")
    row = next(row for row in (*ROWS, *ablations(config)) if row.name == name)
    return entry(layout, config, row=row, net="deeplabv3plus", seed=seed, rounds=rounds)


RIVAL = {
    "rounds.steps": 19,
    "rounds.learning_rate": 5e-4,  # the rate at which source-only begins
    "rounds.start": ("fresh",),
    "rounds.real_share": (0.0,),
    "rounds.classmix": 0.0,
    "rounds.color_transfer": 0.0,
}
CHANGES: dict[str, dict[str, object]] = {
    "source-only": {"train.steps": 19},
    "adabn": {
        "train.steps": 19,
        "rounds.steps": 0,
        "rounds.adapted": False,
        "rounds.real_share": (0.0,),
        "rounds.adabn_share": 1.0,
        "rounds.classmix": 0.0,
        "rounds.color_transfer": 0.0,
        "rounds.learning_rate": 5e-4,
    },
    "cycada": {**RIVAL, "rival.method": "cycada"},
    "adaptsegnet": {**RIVAL, "rival.method": "adaptsegnet", "rounds.adapted": False},
    "mrnet": {**RIVAL, "rival.method": "mrnet", "rounds.adapted": False},
    "seg-uncertainty": {
        **RIVAL,
        "rival.method": "seg-uncertainty",
        "rounds.steps": (10, 9),
        "rounds.learning_rate": (5e-4, 3e-4),  # the second stage learns at the rate of our own rounds
        "rounds.start": ("fresh", "warm"),
        "rounds.adapted": False,
        "rounds.real_share": (0.0, 1.0),
        "rounds.kept_fraction": (1.0,),
        "rounds.rectify": True,
    },
    "ours": {},
    "oracle": {"train.oracle_steps": 19},
    "without-class-mix": {"rounds.classmix": 0.0},
    "without-adapter": {"rounds.adapted": False},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_row_differs_from_the_run_in_what_it_says_and_nothing_else(run: Path, name: str) -> None:
    before, after = (configuration.flat(config) for config in (load(run / "run.toml"), entry_of(run, name).config))
    assert {key: value for key, value in after.items() if before[key] != value} == CHANGES[name]


@pytest.mark.parametrize("name", ["cycada", "adaptsegnet", "mrnet", "seg-uncertainty"])
def test_the_rivals_discriminators_are_as_large_as_the_run_says(tmp_path: Path, name: str) -> None:
    config = entry_of(make(tmp_path / "run", "rival.discriminator_channels=4", *PLAIN), name).config
    assert (config.rival.method, config.rival.discriminator_channels) == (name, 4)


def test_a_row_of_an_earlier_version_is_left_out(run: Path) -> None:
    old = entry_of(run, "mrnet")
    lay_out(old)
    layout, config = Layout(run), load(run / "run.toml")
    assert [one.root for one in present(layout, config, rounds=2)[0]] == [old.root]
    with old.layout.configuration.open("a") as stream:
        stream.write("[rounds.align]\nmain = 0.001\n")
    assert present(layout, config, rounds=2) == ([], [old.root])
    with pytest.raises(InputError, match="rounds.align.main is 0.001, but that key was removed"):
        lay_out(old)


@pytest.mark.parametrize("name", NAMES)
def test_rounds_that_begin_with_the_backbone_leave_the_source_only_net_out_of_the_budget(tmp_path: Path, name: str) -> None:
    fresh = make(tmp_path / "run", "train.steps=7", "rounds.steps=4", 'rounds.start=["fresh","warm"]', "rounds.adapted=false")
    one = entry_of(fresh, name)
    assert budget(load(fresh / "run.toml"), rounds=2) == one.cost.updates == 12
    assert one.cost.besides == (7 if name == "cycada" else 0)  # its adapter's frozen net


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_the_same_budget(run: Path, name: str) -> None:
    one = entry_of(run, name)
    assert budget(load(run / "run.toml"), rounds=2) == one.cost.updates == 19
    assert one.cost.synthetic + one.cost.pseudo + one.cost.labelled == 38


def test_what_each_row_sees(run: Path) -> None:
    seen = {name: entry_of(run, name).cost for name in NAMES}
    assert vars(seen["ours"]) == {"updates": 19, "synthetic": 30, "pseudo": 8, "unlabelled": 0, "labelled": 0, "besides": 0}
    assert vars(seen["cycada"]) == {"updates": 19, "synthetic": 38, "pseudo": 0, "unlabelled": 38, "labelled": 0, "besides": 7}
    assert (seen["seg-uncertainty"].synthetic, seen["seg-uncertainty"].pseudo, seen["seg-uncertainty"].unlabelled) == (20, 18, 20)
    assert (seen["oracle"].labelled, seen["oracle"].synthetic) == (38, 0)


def test_masked_copies_are_images_too(run: Path) -> None:
    one = entry_of(run, "ours")
    masked = replace(one.config, rounds=replace(one.config.rounds, mask_ratio=0.5))
    assert cost(masked, one.phases, stage=one.stage).pseudo == 16


def test_real_images_are_counted_for_each_use(run: Path) -> None:
    one = entry_of(run, "ours")
    rounds, rival = replace(one.config.rounds, ema_pseudo_labels=True), Rival("mrnet")
    used = replace(one.config, rounds=rounds, rival=rival, train=replace(one.config.train, batch=4))
    # 7 updates of source-only without any, 4 of round 0 with 4 and 4, 8 with 2 and 2.
    assert cost(used, one.phases, stage=one.stage).unlabelled == 4 * 8 + 8 * 4


@pytest.mark.parametrize("name", NAMES)
def test_only_the_oracle_reads_real_labels_and_only_who_needs_it_fits_an_adapter(run: Path, name: str) -> None:
    folders = [phase.folder for phase in entry_of(run, name).phases]
    assert ("oracle/task" in folders) == (name == "oracle")
    assert ("adapter" in folders) == (name in ("cycada", "ours"))
    assert folders[0] == "world" and folders[-1].endswith("/evaluation")


def test_a_flow_is_cut_to_what_a_folder_needs() -> None:
    shards = [Phase("b", "b", (), ("a",), shard=(0, 2)), Phase("b", "b", shard=(1, 2))]
    flow = [Phase("a", "a"), *shards, Phase("c", "c", (), ("b",)), Phase("d", "d")]
    assert list(needed(flow, goal="c")) == flow[:4]
    assert list(needed(flow, goal="c", beyond=("a",))) == flow[1:4]


def test_rows_share_what_would_be_the_same_and_nothing_else(run: Path) -> None:
    def print_of(name: str, folder: str, seed: int = 0) -> str:
        return fingerprints(entry_of(run, name, seed=seed))[folder]

    assert len({print_of(name, "world") for name in NAMES}) == 1
    assert print_of("ours", "world") != print_of("ours", "world", seed=1)
    assert print_of("source-only", "source-only/task") == print_of("adabn", "source-only/task")
    assert print_of("source-only", "source-only/task") != print_of("ours", "source-only/task")
    assert print_of("cycada", "adapted") == print_of("ours", "adapted") == print_of("without-class-mix", "adapted")
    assert print_of("ours", "round-0/task") == print_of("without-class-mix", "round-0/task")
    assert print_of("ours", "round-1/task") != print_of("without-class-mix", "round-1/task")
    assert print_of("ours", "round-0/task") != print_of("cycada", "round-0/task")
    assert print_of("mrnet", "round-0/task") != print_of("seg-uncertainty", "round-0/task")


def test_a_net_that_labels_and_one_that_does_not_share_no_export_where_views_are_for_labelling(tmp_path: Path) -> None:
    settings = ("teacher.flip=true", "teacher.views=labelling", "rounds.start=warm")
    runs = [make(tmp_path / name, f"rounds.real_share={name}", *settings) for name in ("[0.0]", "[0.0, 0.5]")]
    last, labels = (fingerprints(entry_of(run, "ours")) for run in runs)
    assert last["round-0/task"] == labels["round-0/task"]
    assert last["round-0/teacher"] != labels["round-0/teacher"]


@pytest.mark.parametrize("online", ["true", "false"])
def test_round_0_reads_what_acts_on_pseudo_labels_where_it_makes_its_own(tmp_path: Path, online: str) -> None:
    run = make(
        tmp_path / "run", f"rounds.ema_pseudo_labels={online}", "rounds.symmetric_cross_entropy=true", "rounds.mask_ratio=0.5"
    )
    prints = {name: fingerprints(entry_of(run, name))["round-0/task"] for name in ("ours", "without-robust", "without-masks")}
    assert (prints["ours"] == prints["without-robust"]) == (online == "false")
    assert prints["ours"] == prints["without-masks"]


def test_online_images_are_counted_beside_bare_ones(run: Path) -> None:
    one = entry_of(run, "ours")
    config = replace(one.config, train=replace(one.config.train, batch=4))
    online = replace(config, rounds=replace(config.rounds, ema_pseudo_labels=True))
    both = replace(online, rival=Rival("mrnet"))
    seen = [cost(used, one.phases, stage=one.stage).unlabelled for used in (online, both)]
    assert seen == [60 - 7 * 4, 2 * (60 - 7 * 4)]  # as many as synthetic ones, source-only's apart


def test_each_lever_switches_off_what_is_on_and_is_no_row_otherwise(run: Path) -> None:
    config = load(run / "run.toml")
    names = [row.name for row in ablations(config)]
    assert "without-class-mix" in names and "without-adapter" in names
    assert "without-rectified" not in names and "without-views" not in names
    # The demo says how large the rivals' discriminators are, and has none itself.
    assert config.rival.discriminator_channels == 32 and not config.rival.method
    for lever in LEVERS:
        off = lever.off(config)
        assert lever.off(off) == off


def test_rounds_that_continue_one_schedule_leave_every_row_a_whole_one(tmp_path: Path, work: Work) -> None:
    steps = ["train.steps=7", "rounds.steps=4", "rounds.start=continue"]
    run = make(tmp_path / "run", *steps, "rounds.real_share=[0.0, 0.5, 0.5]")
    for name in (*NAMES, "without-pseudo-labels", "without-plain-start"):
        one = entry_of(run, name)
        last = schedule_of(one.config, stage=one.stage)
        assert last.done + last.steps == (last.whole or last.steps), name
        assert one.cost.updates == 19
    assert schedule_of(entry_of(run, "ours").config, stage=Stage("round-2")).done == 15
    prints = {name: fingerprints(entry_of(run, name))["source-only/task"] for name in ("source-only", "adabn", "cycada", "ours")}
    assert prints["source-only"] == prints["adabn"]
    assert len(set(prints.values())) == 3  # of ours it is the beginning of one schedule, for CyCADA's adapter a whole one
    assert "--rounds 1: with rounds.start = 'continue' the learning-rate schedule ends with round 2" in compare(
        run, "--rounds", 1, code=2
    )
    assert work.done == []


def test_relative_places_lead_to_the_same_files(tmp_path: Path) -> None:
    none = ["world.engine=0", "world.camera=0", "world.held_out=0", "real.files=../list.txt"]
    run = make(tmp_path / "run", "synthetic.root=../gta", "real.root=/data/city", "held_out.root=../city", *none)
    one = entry_of(run, "ours")
    assert one.layout.resolve(one.config.synthetic[0].root) == (tmp_path / "gta").resolve()
    assert one.layout.resolve(one.config.real[0].files) == (tmp_path / "list.txt").resolve()
    assert one.config.real[0].root == "/data/city"
    assert one.config.held_out and one.layout.resolve(one.config.held_out.root) == (tmp_path / "city").resolve()


def test_other_nets() -> None:
    task = Task(architecture="deeplabv3plus", backbone="efficientnet_lite0", weights="package")
    assert with_net(task, "deeplabv3plus") == task
    assert with_net(task, "fcn") == replace(task, architecture="fcn")
    segnet = with_net(task, "segnet")
    assert (segnet.architecture, segnet.backbone, segnet.weights) == ("segnet", "vgg16_bn", "scratch")
    with pytest.raises(InputError, match="fcn: the run uses segnet with vgg16_bn"):
        with_net(segnet, "fcn")


class Work:
    """Stands for the phases' processes: renders the world, and writes what the others promise without doing their work."""

    def __init__(self, *, most: int = 1000) -> None:
        self.most = most  # then it is killed
        self.done: list[str] = []

    def __call__(self, root: Path, phase: Phase, *, device: str, workers: int | None) -> None:
        if len(self.done) == self.most:
            raise SystemExit(143)
        self.done.append(f"{root.parent.name}/{root.name} {phase.name}")
        if phase.verb == "world":
            assert selfsyn_here("world", "--run", root, "--workers", 1)[0] == 0
            return
        layout, config = open_run(root)
        started = begin(layout, config, phase)
        if phase.verb == "evaluate":
            evaluated(started.folder, layout, config, row=root.parent.name)
        write_atomic(started.folder / "result", phase.name.encode())
        outputs = {"result": digest_bytes(f"{phase.name} {configuration.flat(config)}".encode())}
        finish(started, outputs=outputs)


def evaluated(folder: Path, layout: Layout, config: RunConfig, *, row: str) -> None:
    miou = SCORES.get(row, SCORES["ours"])[config.seed] - (0.02 if row.startswith("without") else 0.0)
    class_iou = {"road": miou + 0.2, "car": miou - 0.2, "train": None}
    write_json(folder / "metrics.json", {"miou": miou, "pixel_accuracy": miou + 0.4, "class_iou": class_iou})
    assert config.held_out is not None
    for name in dataset(config.held_out.layout).find_images(layout.resolve(config.held_out.root), "val"):
        label = np.full((48, 64), NAMES.index(row) if row in NAMES else 18, dtype=np.uint8)
        write_atomic(folder / f"pictures/{name}.png", encode_label_png(label))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Everything that `compare` starts as a process."""
    fake = Work()
    monkeypatch.setattr("jobs.running.run_phase", fake)
    return fake


def compare(run: Path, *arguments: object, code: int = 0) -> str:
    ended, said = selfsyn_here("compare", "--run", run, *arguments)
    assert ended == code, said
    return said


def table(run: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((run / "compare/table.json").read_text())["deeplabv3plus"]
    return found


def test_the_whole_table(run: Path, work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    compare(run, "--seeds", "0,1")
    compare(run, "--rows", "without-class-mix,without-adapter")
    rows = table(run)
    assert list(rows)[: len(NAMES)] == NAMES
    assert rows["ours"]["miou"] == pytest.approx(0.39)
    assert rows["ours"]["miou_spread"] == pytest.approx(0.02 / 2**0.5)
    assert rows["ours"]["gap_closed"] == pytest.approx((0.39 - 0.32) / (0.42 - 0.32))
    page = (run / "compare/index.html").read_text()
    titles = [*(row.title for row in SHOWN), "without ClassMix", "without the adapter"]
    assert [title for title in titles if f">{title}<" not in page] == []
    assert "0.390 ± 0.014" in page and "70 %" in page and "38 images" in page
    assert page.count('<img class="photo"') == 3 and page.count('<img class="label"') == 3 * (1 + len(SHOWN))
    links = re.findall(r'href="([^"]+manifest\.json)"', page)
    assert len(links) == len(titles) + 1  # ours stands in both tables
    assert all((run / "compare" / link).is_file() for link in links)
    assert "| ours | 0.390 ± 0.014 | 0.790 ± 0.014 | +0.070 | 70 % | 2 |" in capsys.readouterr().out
    assert "+0.025 against the strongest rival (Seg-Uncertainty, both stages)" in page


def test_a_run_lends_its_bounds_with_its_own_number_of_updates(run: Path) -> None:
    layout, config = open_run(run)

    def lent(config: RunConfig) -> dict[str, Entry]:
        return {one.row.name: one for one in donors(layout, config, rounds=2) if one.root == run}

    assert list(lent(config)) == ["source-only", "ours", "oracle"]
    wanted = fingerprints(entry_of(run, "source-only"))["source-only/task"]
    assert fingerprints(lent(config)["source-only"])["source-only/task"] != wanted  # the row trains for the whole budget
    longer = replace(config, train=replace(config.train, steps=budget(config, rounds=2)))
    assert fingerprints(lent(longer)["source-only"])["source-only/task"] == wanted
    ours = fingerprints(entry_of(run, "ours"))
    assert {folder: fingerprints(lent(config)["ours"])[folder] for folder in ours} == ours


def test_what_rows_share_is_computed_once_and_takes_no_room(run: Path, work: Work) -> None:
    compare(run, "--seeds", "0,1", "--rows", "source-only,adabn,cycada,ours")
    started = [line.split(" ", 1)[1] for line in work.done]
    assert [started.count(name) for name in ("world", "adapt", "fit-adapter")] == [2, 2, 2]
    assert started.count("train --bound source-only") == 4  # the whole budget, and the start of ours, for two seeds
    folders = [run / "compare/deeplabv3plus" / row / "seed-0/world/engine/images" for row in ("ours", "cycada")]
    first, second = (sorted(folder.iterdir()) for folder in folders)
    assert first and [path.stat().st_ino for path in first] == [path.stat().st_ino for path in second]


def test_a_killed_table_goes_on_and_a_finished_one_is_left_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed, again, third = Work(most=9), Work(), Work()
    monkeypatch.setattr("jobs.running.run_phase", killed)
    compare(run, code=143)
    assert list(table(run)) == ["source-only", "adabn"]
    monkeypatch.setattr("jobs.running.run_phase", again)
    compare(run)
    assert list(table(run)) == NAMES
    assert not set(killed.done) & set(again.done)
    monkeypatch.setattr("jobs.running.run_phase", third)
    compare(run)
    assert third.done == []


def test_a_fault_in_one_row_keeps_no_other_from_being_computed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(Work):
        def __call__(self, root: Path, phase: Phase, *, device: str, workers: int | None) -> None:
            if (root.parent.name, phase.verb) == ("adabn", "export-teacher"):
                raise SystemExit(1)
            super().__call__(root, phase, device=device, workers=workers)

    monkeypatch.setattr("jobs.running.run_phase", Faulty())
    said = compare(run, "--rows", "source-only,adabn,oracle", code=1)
    assert said.strip().splitlines()[-1].startswith(f"selfsyn: {run}: not finished: deeplabv3plus adabn seed 0; ")
    assert list(table(run)) == ["source-only", "oracle"]
    monkeypatch.setattr("jobs.running.run_phase", Work())
    compare(run, "--rows", "source-only,adabn,oracle")
    assert list(table(run)) == ["source-only", "adabn", "oracle"]


def test_some_rows_now_and_others_later(run: Path, work: Work) -> None:
    compare(run, "--rows", "oracle")
    assert list(table(run)) == ["oracle"] and table(run)["oracle"]["gap_closed"] is None
    compare(run, "--rows", "source-only, ours")
    assert list(table(run)) == ["source-only", "ours", "oracle"]
    assert table(run)["ours"]["gap_closed"] == pytest.approx(0.8)
    compare(run, "--rows", "oracle", "--net", "fcn")
    assert list(json.loads((run / "compare/table.json").read_text())) == ["fcn", "deeplabv3plus"]


def test_what_the_run_itself_has_finished_is_used(run: Path, work: Work) -> None:
    for phase in phases(load(run / "run.toml"), rounds=2):
        if phase.verb != "report":
            work(run, phase, device="cpu", workers=None)
    work.done.clear()
    compare(run, "--rows", "ours,oracle")
    assert [line for line in work.done if line.startswith("ours")] == []
    assert "oracle/seed-0 train --bound oracle" in work.done and "oracle/seed-0 world" not in work.done


def test_another_budget_in_the_same_folder_is_refused_and_not_mixed_in(run: Path, work: Work) -> None:
    compare(run, "--rows", "source-only,ours")
    said = compare(run, "--rounds", 1, "--rows", "source-only", code=2)
    assert "exists with other settings (train.steps: 19 -> 15); use the same --rounds" in said
    compare(run, "--rounds", 1, "--rows", "oracle")
    assert list(table(run)) == ["oracle"]  # source-only has another budget, and of ours round 1 is not scored


def test_a_dry_run_says_rows_budgets_and_phases_and_writes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare(run, "--seeds", "0,1", "--dry-run")
    lines = capsys.readouterr().out.splitlines()[-2 * len(SHOWN) :]
    assert all(": 19 updates on " in line for line in lines)
    assert "seg-uncertainty seed 1: 19 updates on 20 synthetic, 18 pseudo-labelled, 20 unlabelled images: world" in lines[-3]
    assert [path.name for path in run.iterdir()] == ["run.toml"]


def test_the_last_round_is_the_last_that_real_share_names_unless_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path / "run", "rounds.real_share=[0.0, 0.5, 0.5, 0.5]", *PLAIN)
    for options, last in (((), 3), (("--rounds", "1"), 1)):
        compare(run, "--rows", "ours", "--dry-run", *options)
        assert capsys.readouterr().out.rstrip().endswith(f"evaluate --round {last}")
        code, said = selfsyn_here("round", "--run", run, "--dry-run", *options)
        assert code == 0 and f"train --round {last}" in said and f"train --round {last + 1}" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "adapt-segnet"], "'adapt-segnet': no such row; expected some of source-only, adabn"),
        (["--rows", "without-views"], "'without-views': no such row"),
        (["--seeds", "0,x"], "--seeds: got 'x'"),
    ],
)
def test_mistakes_are_one_line(run: Path, arguments: list[str], message: str) -> None:
    said = compare(run, *arguments, code=2)
    assert message in said and len(said.strip().splitlines()) == 1


def test_without_held_out_labels_there_is_nothing_to_compare(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    text = re.sub(r"\[held_out\]\n(.+\n)+", "", (run / "run.toml").read_text())
    (run / "run.toml").write_text(text)
    assert "no held_out data set; a comparison needs" in compare(run, code=2)


def test_the_ablation_is_ours_and_each_lever(run: Path) -> None:
    config = load(run / "run.toml")
    assert [row.name for row in chosen(config, names=(), ablate=False)] == NAMES
    names = [row.name for row in chosen(config, names=("oracle",), ablate=True)]
    assert names[:2] == ["ours", "oracle"] and all(name.startswith("without-") for name in names[2:])


def test_the_headline_names_a_loss_as_one(run: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES, "ours", (0.29, 0.0))
    compare(run, "--rows", "source-only,adabn,ours,oracle")
    lines = collect([entry_of(run, name) for name in ("source-only", "adabn", "ours", "oracle")])["deeplabv3plus"]
    expected = "Ours 0.290 mIoU, −0.010 against source-only, −10 % of the gap to the oracle, −0.020 against the strongest rival"
    assert headline(lines) == f"{expected} (source-only + AdaBN)."


def test_the_entries_of_a_comparison_remember_the_data_with_the_run(run: Path) -> None:
    entries = [entry_of(run, name) for name in ("mrnet", "ours")]
    for _ in range(2):
        for one in entries:
            share_caches(one, run=Layout(run))
    (entries[0].layout.inputs / "files.json").write_text("{}")
    assert [one.layout.inputs.resolve() for one in entries] == [(run / "inputs").resolve()] * 2
    assert [one.layout.graphs.resolve() for one in entries] == [(run / "graphs").resolve()] * 2
    assert (run / "inputs/files.json").read_text() == "{}"
