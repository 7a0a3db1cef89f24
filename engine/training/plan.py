"""Which epoch belongs to which phase, once a person may end a phase before its time.

The recipe says how long each phase is to be. "Next phase now", given while epoch e is under way, ends that epoch after
the present step and the phase with it: a `Cut`. A cut is written to the run's folder before it is obeyed, so a run that
is killed right afterwards trains the epoch again up to the same step, and ends as if nothing had happened.

The epochs of a phase keep the image sizes and learning rates that the recipe gives them: after a cut, the next phase
begins where the recipe lets it begin.
"""

from dataclasses import dataclass

from engine.training.recipe import Phase, Recipe


@dataclass(frozen=True)
class Cut:
    """A phase ended in epoch `epoch` (the first is 0) after `steps` of its steps; 0 steps: before that epoch."""

    epoch: int
    steps: int


@dataclass(frozen=True)
class Plan:
    """A recipe with the cuts that were made, in the order of their epochs."""

    recipe: Recipe
    cuts: tuple[Cut, ...] = ()

    @property
    def ends(self) -> tuple[int, ...]:
        """For each phase, the number of epochs that are done at its end."""
        cuts, ends, begin = list(self.cuts), [], 0
        for phase in self.recipe.phases:
            end = begin + phase.epochs
            if cuts and cuts[0].epoch < end:
                cut = cuts.pop(0)
                end = cut.epoch + (cut.steps > 0)
            ends.append(end)
            begin = end
        return tuple(ends)

    @property
    def epochs(self) -> int:
        """How many epochs there are in all."""
        return self.ends[-1]

    def phase_at(self, epoch: int) -> int:
        """The index of the phase that epoch `epoch` (the first is 0) belongs to.

        Raises:
            IndexError: the plan has no such epoch.
        """
        for index, end in enumerate(self.ends):
            if epoch < end:
                return index
        raise IndexError(f"The plan has only {self.epochs} epochs, not {epoch + 1}.")

    def phase(self, epoch: int) -> Phase:
        """The phase that epoch `epoch` belongs to."""
        return self.recipe.phases[self.phase_at(epoch)]

    def epoch_in_phase(self, epoch: int) -> int:
        """How many epochs of its phase are done before epoch `epoch`."""
        index = self.phase_at(epoch)
        return epoch - (self.ends[index - 1] if index else 0)

    def pixels_at(self, epoch: int) -> int:
        """The side in pixels of the images of epoch `epoch`."""
        earlier = self.recipe.phases[: self.phase_at(epoch)]
        return self.recipe.pixels_at(sum(phase.epochs for phase in earlier) + self.epoch_in_phase(epoch))

    def steps_in(self, epoch: int, whole: int) -> int:
        """The steps of epoch `epoch`, of which a whole one has `whole`."""
        return next((cut.steps for cut in self.cuts if cut.epoch == epoch and cut.steps), whole)

    def steps_before(self, epoch: int, whole: int) -> int:
        """The steps of all epochs before `epoch`."""
        return sum(self.steps_in(earlier, whole) for earlier in range(epoch))

    def can_cut(self, epoch: int) -> bool:
        """Whether a phase follows the one of epoch `epoch`."""
        return self.phase_at(epoch) + 1 < len(self.recipe.phases)

    def cut(self, epoch: int, steps: int) -> "Plan":
        """The plan in which the phase of epoch `epoch` ends after `steps` of that epoch's steps.

        An epoch that a killed run trains again may be cut already: the new cut takes the place of the old one.
        """
        others = (cut for cut in self.cuts if cut.epoch != epoch or not cut.steps)
        return Plan(self.recipe, (*others, Cut(epoch, steps)))
