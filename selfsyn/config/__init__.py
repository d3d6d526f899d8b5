"""The whole configuration of a run: frozen dataclasses, one section of run.toml each."""

from selfsyn.config.adapter import Adapter as Adapter
from selfsyn.config.classes import Classes as Classes
from selfsyn.config.classes import Scoring as Scoring
from selfsyn.config.data import DataFolder as DataFolder
from selfsyn.config.data import HeldOut as HeldOut
from selfsyn.config.data import Source as Source
from selfsyn.config.data import World as World
from selfsyn.config.rival import Rival as Rival
from selfsyn.config.rounds import Rounds as Rounds
from selfsyn.config.run import RunConfig as RunConfig
from selfsyn.config.task import Student as Student
from selfsyn.config.task import Task as Task
from selfsyn.config.teacher import Teacher as Teacher
from selfsyn.config.toml import difference as difference
from selfsyn.config.toml import flat as flat
from selfsyn.config.toml import from_mapping as from_mapping
from selfsyn.config.toml import load as load
from selfsyn.config.toml import read_toml as read_toml
from selfsyn.config.toml import to_toml as to_toml
from selfsyn.config.toml import with_settings as with_settings
from selfsyn.config.train import Augment as Augment
from selfsyn.config.train import Train as Train
