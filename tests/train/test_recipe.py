from __future__ import annotations

import json

import pytest

from drr.train.recipe import RECIPES, Recipe, RecipeError, find_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_that_come_along(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    assert recipe.source
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert eval(repr(recipe)) == recipe


def test_the_authors_recipe():
    recipe = find_recipe("drr-rate")
    assert (recipe.learning_rate, recipe.weight_decay, recipe.batch_size) == (1e-4, 1e-5, 32)
    assert (recipe.image_size, recipe.crop_area, recipe.flip) == (512, (0.8, 1.0), 0)
    assert (recipe.folds, recipe.folds_of, recipe.seed) == (5, "images", 42)
    assert len(recipe.labels) == 6


def test_only_the_authors_recipe_lets_patients_leak():
    assert [find_recipe(name).folds_of for name in RECIPES] == ["images", "patients", "patients"]


def test_from_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "labels": ["a"], "epochs": 3}))
    recipe = find_recipe(path)
    assert (recipe.name, recipe.labels, recipe.epochs) == ("mine", ("a",), 3)
    assert find_recipe(str(path)) == find_recipe(recipe) == find_recipe(recipe.to_dict())
    path.write_text("{")
    with pytest.raises(RecipeError, match=r"mine\.json: is not JSON"):
        find_recipe(path)
    path.write_text("[]")
    with pytest.raises(RecipeError, match=r"mine\.json: a recipe is an object"):
        find_recipe(path)
    path.write_text('{"epoch": 3}')
    with pytest.raises(RecipeError, match=r"no key 'epoch'; did you mean 'epochs'"):
        find_recipe(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        find_recipe(tmp_path)
    with pytest.raises(RecipeError, match="did you mean 'modern'"):
        find_recipe("moderm")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"epochs": 2.0}, "epochs must be a whole number"),
        ({"folds": 1}, "folds must be a whole number from 2"),
        ({"flip": 1.5}, "flip must be a number from 0 to 1"),
        ({"flip": True}, "flip must be a number"),
        ({"learning_rate": 0}, "learning_rate must be a number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"channels": True}, "channels must be one of 1, 3"),
        ({"crop_area": [0.9, 0.2]}, "crop_area must rise"),
        ({"crop_area": 0.9}, "crop_area must be two numbers"),
        ({"betas": [0.9, 1.0]}, "betas must be below 1"),
        ({"labels": ["a", "a"]}, "different names"),
        ({"labels": "ab"}, "list of different names"),
        ({"policy": "chests"}, "policy: .*did you mean 'chest'"),
        ({"name": 3}, "name must be text"),
        ({"unknown": "present"}, "unknown must be one of absent, ignore"),
    ],
)
def test_wrong_values_are_named(values, words):
    with pytest.raises(RecipeError, match=words):
        Recipe.from_dict(values)
