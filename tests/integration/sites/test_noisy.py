"""A site that prints in every task, all the time: the smoke tests say that nothing else is different."""

from __future__ import annotations

from pathlib import Path

from integration.conftest import MakeBundle, MakeContainer
from integration.engines import Engine
from integration.test_noise import check_answers, noise
from integration.users import User


def test_the_site_is_noisy(alice: User) -> None:
    assert noise() == 4


def test_what_it_prints_is_no_answer(
    container: MakeContainer, private_bundle: MakeBundle, docker: Engine, directory: Path
) -> None:
    check_answers(container, private_bundle, docker, directory)
