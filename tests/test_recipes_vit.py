"""The recipes with a ViT, from end to end; see test_recipes.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_recipes import RECIPES_OF_VIT, runs_from_end_to_end


@pytest.mark.parametrize("recipe", RECIPES_OF_VIT)
def test_a_recipe_with_a_vit_runs_from_end_to_end(recipe: str, tmp_path: Path) -> None:
    runs_from_end_to_end(recipe, RECIPES_OF_VIT[recipe](tmp_path), tmp_path)
