"""Seeds: what they depend on, and on what not."""

import subprocess
import sys

from peftnas.search.recipe import Recipe
from peftnas.search.seeds import child_seed, derive_seed


def test_a_seed_depends_on_everything_that_makes_a_trial() -> None:
    recipe = Recipe().to_dict()
    seeds = {
        derive_seed(0, "a", recipe),
        derive_seed(1, "a", recipe),
        derive_seed(0, "b", recipe),
        derive_seed(0, "a", Recipe(learning_rate=2e-3).to_dict()),
        derive_seed(0, "a", recipe, repeat=1),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_the_order_of_fields_does_not_matter() -> None:
    recipe = Recipe().to_dict()
    assert derive_seed(3, "k", recipe) == derive_seed(3, "k", dict(reversed(recipe.items())))


def test_a_seed_is_the_same_in_another_process() -> None:
    code = (
        "from peftnas.search.recipe import Recipe; from peftnas.search.seeds import derive_seed;"
        "print(derive_seed(5, 'key', Recipe().to_dict(), 2))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "123"},
    )
    assert int(done.stdout) == derive_seed(5, "key", Recipe().to_dict(), 2)


def test_purposes_do_not_share_a_seed() -> None:
    assert child_seed(1, "head") != child_seed(1, "order") != child_seed(2, "order")
