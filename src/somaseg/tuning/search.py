"""The search for thresholds: Optuna proposes values, trial by trial, and every trial is kept in SQLite."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError, MissingExtraError
from somaseg.tuning.thresholds import Threshold, Trial

try:
    import optuna
    import sqlalchemy
except ImportError:
    raise MissingExtraError("optuna", "tune") from None

Study = optuna.Study
Values = Mapping[str, float]
RANDOM_TRIALS = 10
"""Before Optuna learns from what it saw."""


class Studies:
    """Studies in one SQLite file, or in memory, each of them the trials of one search.

    Args:
        path: of the file; None keeps nothing.
        made_of: all that the scores depend on, by what it is called in messages. A file goes on only where it is the same.

    Raises:
        InputError: when the file is no such file, or was made of something else.
    """

    def __init__(self, path: Path | None, made_of: Mapping[str, str]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # Optuna tells of every trial on stderr otherwise
        self._storage: optuna.storages.BaseStorage
        if path is None:
            self._storage = optuna.storages.InMemoryStorage()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            about = self.open("what these studies were made of")
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise InputError(f"{path}: cannot be used as a study ({reason}): give another --study, or delete it") from error
        before = about.user_attrs
        changed = [name for name, value in made_of.items() if before.get(name, value) != value]
        if changed:
            raise InputError(
                f"{path}: is of a search with other {', '.join(changed)}: give the same again, or another --study, or delete the file"
            )
        for name in made_of.keys() - before.keys():
            about.set_user_attr(name, made_of[name])

    def open(self, name: str) -> Study:
        """The study of this name."""
        return optuna.create_study(storage=self._storage, study_name=name, direction="maximize", load_if_exists=True)


class Search:
    """A search for the thresholds that score best on some images, which goes on where it was stopped.

    A trial draws a value for each threshold, all of them together; the first trial is the start. The class of an image decides which
    thresholds by class act on it, so those of a class learn from the score of its own images, and the shared ones from the score of all.
    In the second half of the trials the shared ones stay at the best values of the first half.

    Args:
        study: what was tried before.
        tuned: the thresholds.
        seed: of the draws; those of a trial depend on it, the study's name and all trials before.
    """

    def __init__(self, study: Study, tuned: Sequence[Threshold], seed: int) -> None:
        self._study, self._seed = study, seed
        self._tuned: dict[str | None, list[Threshold]] = defaultdict(list)
        for threshold in tuned:
            self._tuned[threshold.cell_type].append(threshold)
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            t.name: optuna.distributions.FloatDistribution(t.low, t.high, step=t.step) for t in tuned
        }
        self.trials = [Trial(trial.params, trial.values[0], trial.user_attrs["by_class"]) for trial in study.trials]

    def run(self, score: Callable[[Values], tuple[float, dict[str, float]]], trials: int, done: Callable[[], None]) -> Trial:
        """Try until there are so many trials, and choose.

        What is chosen is the mean of the best fifth of the trials, for each class by its own score: on few images the one best trial
        owes its place to chance, too. Where that scores less than the start, the start is chosen.

        Args:
            score: gives the score of all images, and that of each class.
            trials: in all, 1 or more, those of an earlier run included.
            done: called after each new trial.

        Returns:
            The chosen values, and their scores.
        """
        while len(self.trials) < trials:
            values = self._proposal(trials)
            self._add(Trial(values, *score(values)))
            done()
        values = self._mean_of_best(self.trials[:trials], max(1, trials // 5))
        mean = Trial(values, *score(values))
        return mean if mean.score >= self.trials[0].score else self.trials[0]

    def _proposal(self, trials: int) -> dict[str, float]:
        if not self.trials:
            return {t.name: t.start for group in self._tuned.values() for t in group}
        half = trials // 2
        if len(self.trials) < half:
            return self._drawn(list(self._tuned))
        best = max(self.trials[: max(half, 1)], key=lambda trial: trial.score)
        fixed = {t.name: best.values[t.name] for t in self._tuned.get(None, ())}
        groups = [group for group in self._tuned if group is not None]
        return fixed | (self._best_of(groups) if len(self.trials) == half else self._drawn(groups))

    def _best_of(self, groups: Sequence[str]) -> dict[str, float]:
        """The values of each class's best trial."""
        values = {}
        for group in groups:
            best = max(self.trials, key=lambda trial: trial.by_class[group])
            values.update({t.name: best.values[t.name] for t in self._tuned[group]})
        return values

    def _mean_of_best(self, trials: Sequence[Trial], count: int) -> dict[str, float]:
        values = {}
        for group, tuned in self._tuned.items():
            best = sorted(trials, key=lambda trial: -(trial.score if group is None else trial.by_class[group]))[:count]
            for t in tuned:
                mean = sum(trial.values[t.name] for trial in best) / count
                values[t.name] = round(t.low + round((mean - t.low) / t.step) * t.step, 6)
        return values

    def _drawn(self, groups: Sequence[str | None]) -> dict[str, float]:
        """New values of the thresholds of some classes, and of the shared ones where None is among them."""
        values: dict[str, float] = {}
        for group in groups:
            names = [t.name for t in self._tuned[group]]
            distributions = {name: self._distributions[name] for name in names}
            memory = optuna.create_study(direction="maximize", sampler=self._sampler(group))
            for trial in self.trials:
                score = trial.score if group is None else trial.by_class[group]
                memory.add_trial(
                    optuna.trial.create_trial(params={n: trial.values[n] for n in names}, distributions=distributions, value=score)
                )
            values.update({name: round(value, 6) for name, value in memory.ask(distributions).params.items()})
        return values

    def _sampler(self, group: str | None) -> optuna.samplers.BaseSampler:
        # A seed of its own for each draw, so that a search that was stopped goes on as if it had not been.
        seed = zlib.crc32(f"{self._seed} {self._study.study_name} {len(self.trials)} {group}".encode())
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=RANDOM_TRIALS)

    def _add(self, trial: Trial) -> None:
        """One transaction after the trial: what was broken off is not there at all."""
        self.trials.append(trial)
        attributes = {"by_class": trial.by_class}
        self._study.add_trial(
            optuna.trial.create_trial(params=trial.values, distributions=self._distributions, value=trial.score, user_attrs=attributes)
        )


def class_means(scores: NDArray[np.float64], cell_types: Sequence[str], tuned: Sequence[Threshold]) -> dict[str, float]:
    """Mean score of the images of each class that has thresholds of its own."""
    own = np.asarray(cell_types)
    return {name: float(scores[own == name].mean()) for name in sorted({t.cell_type for t in tuned if t.cell_type is not None})}
