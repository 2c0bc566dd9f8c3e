"""How images are assigned to subsets."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from scanline.core.options import Options, read_options

NO_CLASS = "none"
WITHOUT = "not "
OTHER_SOURCE = "external_sources"  # in dropped_by: no choice of a policy

_KIND = f"a class, '{WITHOUT}<class>' (known to be without it) or {NO_CLASS} (known to be without every class)"


class Ratios(Options):
    """Shares of all images; they sum to 1."""

    train: float = Field(gt=0, lt=1, description="Share of the images to train on.")
    val: float = Field(gt=0, lt=1, description="Share for early stopping, thresholds and calibration.")
    test: float = Field(gt=0, lt=1, description="Share for the figures that are reported.")


class Keep(Options):
    """Every image of the subset."""

    method: Literal["keep"] = Field(description="Drop nothing, repeat nothing.")


class Undersample(Options):
    """Drop images of one kind at random until there are few enough for each image of another."""

    method: Literal["undersample"] = Field(description="Drop at random.")
    reduce: str = Field(description=f"Images to drop: {_KIND}. Those that are `against` as well are kept.")
    against: str = Field(description="Images to count them by, spelled like `reduce`.")
    ratio: float = Field(gt=0, description="At most so many images of `reduce` for each of `against`.")


class Oversample(Options):
    """Repeat images of one kind in each epoch until there are enough for each image of another; of train alone."""

    method: Literal["oversample"] = Field(description="Repeat, as evenly as can be.")
    increase: str = Field(description=f"Images to repeat: {_KIND}. Those that are `against` as well are not.")
    against: str = Field(description="Images to count them by, spelled like `increase`.")
    ratio: float = Field(gt=0, description="At least so many images of `increase` for each of `against`.")


class NegativeShare(Options):
    """Drop negatives, or positives where negatives are too few, at random until their share is as wanted."""

    method: Literal["negative_share"] = Field(description="Drop at random.")
    negatives: str = Field(
        default=NO_CLASS,
        description=f"What a negative is: '{WITHOUT}<class>', against those with that class, or {NO_CLASS} (known to be"
        " without every class), against those with any.",
    )
    share: float = Field(gt=0, lt=1, description="Wanted share of negatives among negatives and positives.")
    tolerance: float = Field(ge=0, lt=1, description="Nothing is dropped while the share is this close to it.")

    @field_validator("negatives")
    @classmethod
    def _negatives(cls, negatives: str) -> str:
        if negatives != NO_CLASS and not negatives.startswith(WITHOUT):
            raise ValueError(f"'{WITHOUT}<class>' or {NO_CLASS}")
        return negatives


Policy = Annotated[Keep | Undersample | Oversample | NegativeShare, Field(discriminator="method")]
PoliciesOfSubsets = dict[Literal["train", "val", "test", "external"], Policy]


class SliceRange(Options):
    """Keep the slices between two positions alone: those among which most findings of train lie."""

    target: str = Field(description="The class whose positions in train are taken.")
    low_percentile: float = Field(default=1, ge=0, lt=50, description="Of these positions: the first that is kept.")
    high_percentile: float = Field(default=99, gt=50, le=100, description="The last that is kept.")
    position: Literal["relative", "absolute"] = Field(
        default="relative",
        description="relative: 0 is the first slice of a volume and 1 its last. absolute: slice_index as it stands.",
    )
    subsets: tuple[Literal["train", "val", "test", "external"], ...] = Field(
        default=("train", "val", "test", "external"),
        description="Where other slices are dropped. In val and test that drops findings outside the range too, and"
        " the receipt says how many.",
    )


def classes_named(policy: Keep | Undersample | Oversample | NegativeShare) -> list[str]:
    """The classes that a policy names, without what it says of them."""
    kinds = [getattr(policy, key) for key in ("reduce", "increase", "against", "negatives") if hasattr(policy, key)]
    return [kind.removeprefix(WITHOUT) for kind in kinds if kind != NO_CLASS]


def _sum_to_one(ratios: Ratios) -> Ratios:
    total = ratios.train + ratios.val + ratios.test
    if abs(total - 1) > 1e-9:
        raise ValueError(f"ratios that sum to 1 (these sum to {total:g})")
    return ratios


class _WholeGroups(Options):
    """What the protocols that never part a group have in common."""

    balance: tuple[str, ...] = Field(
        description="Classes whose prevalence is brought close to the whole study's in each subset;"
        f" {NO_CLASS} among them: so is the share of images known to be without every class."
    )
    strata: tuple[str, ...] = Field(
        default=(),
        description="Columns of the images table (source, view, ...), of at most 50 values each, to spread alike.",
    )
    external_sources: tuple[str, ...] = Field(
        default=(), description="Sources whose images, with their groups, are external: for testing alone."
    )
    policies: PoliciesOfSubsets = Field(
        default={}, description="How classes are balanced within a subset, by subset; every image is kept elsewhere."
    )
    slice_range: SliceRange | None = Field(
        default=None, description="Slices to keep by their position in the volume, before policies; null keeps all."
    )
    seed: int = Field(ge=0, description="Seed of the assignment, and of what policies drop.")

    @field_validator("policies")
    @classmethod
    def _repeated_in_train_alone(cls, policies: PoliciesOfSubsets) -> PoliciesOfSubsets:
        for subset, policy in policies.items():
            if policy.method == "oversample" and subset != "train":
                raise ValueError(f"oversample in train alone: in {subset} an image would be scored several times")
        return policies


class GroupedSplit(_WholeGroups):
    """Whole groups (patients and all that is tied to them) in one subset; proved by the gate."""

    protocol: Literal["grouped"] = Field(description="Groups are never parted.")
    ratios: Ratios = Field(description="Shares of train, val and test.")

    _checked = field_validator("ratios")(_sum_to_one)


class OfficialSplit(_WholeGroups):
    """The lists that a data set was published with; what they leave open is assigned by whole groups."""

    protocol: Literal["official"] = Field(description="By the images' official_subset; groups are never parted.")
    val_share: float | None = Field(
        default=None, gt=0, lt=1, description="Share of train_val that becomes val; null where a list names val."
    )


class KFoldSplit(_WholeGroups):
    """One of k folds of whole groups: the folds of one seed are the same in every entry that names them."""

    protocol: Literal["kfold"] = Field(description="Fold i is test, fold i + 1 (after the last, 0) is val.")
    folds: int = Field(ge=3, description="Number of folds, k.")
    fold: int = Field(ge=0, description="The fold to test on, from 0.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.fold >= self.folds:
            raise ValueError(f"a fold from 0 to {self.folds - 1}")
        return self


class NaiveImageSplit(Options):
    """Images shuffled one by one, as is often done: it leaks, and serves to show what leakage is worth."""

    protocol: Literal["naive_image"] = Field(description="Images one by one, patients ignored.")
    ratios: Ratios = Field(description="Shares of train, val and test.")
    seed: int = Field(ge=0, description="Seed of the assignment.")

    _checked = field_validator("ratios")(_sum_to_one)


class StratifiedSplit(_WholeGroups):
    """Whole groups dealt out by number, those with a class and those without it each by the same ratios."""

    protocol: Literal["stratified"] = Field(
        description="Groups with and without a class, each drawn at random by their number; groups are never parted."
    )
    ratios: Ratios = Field(description="Shares of train, val and test of the groups of each kind.")
    stratify_by: str = Field(description="The class: a group has it if any of its images does.")
    balance: tuple[str, ...] = Field(default=(), description="Nothing else is balanced: empty.", max_length=0)
    strata: tuple[str, ...] = Field(default=(), description="Nothing else is spread: empty.", max_length=0)

    _checked = field_validator("ratios")(_sum_to_one)


LeakFreeSplit = GroupedSplit | StratifiedSplit | OfficialSplit | KFoldSplit
SplitOptions = Annotated[
    GroupedSplit | StratifiedSplit | OfficialSplit | KFoldSplit | NaiveImageSplit, Field(discriminator="protocol")
]


class _Protocol(Options):
    """The key that tells which model the other keys belong to."""

    model_config = ConfigDict(extra="ignore")

    protocol: Literal["grouped", "stratified", "official", "kfold"] = Field(description="How images are assigned.")


def read_leak_free_options(text: str) -> LeakFreeSplit:
    """Parse the JSON of a split into the model of its protocol.

    Raises:
        InputError: If the text is no JSON, the protocol is unknown or naive_image, or the rest does not fit it.
    """
    match read_options(_Protocol, text).protocol:
        case "grouped":
            return read_options(GroupedSplit, text)
        case "stratified":
            return read_options(StratifiedSplit, text)
        case "official":
            return read_options(OfficialSplit, text)
        case "kfold":
            return read_options(KFoldSplit, text)


def target_shares(options: LeakFreeSplit | NaiveImageSplit) -> dict[str, float]:
    """Shares of the images that were assigned by search; without test, where lists fix it, and empty where all is."""
    match options:
        case OfficialSplit():
            val = options.val_share
            return {} if val is None else {"train": 1 - val, "val": val}
        case KFoldSplit():
            return {"train": 1 - 2 / options.folds, "val": 1 / options.folds, "test": 1 / options.folds}
        case _:
            return options.ratios.model_dump()


def target_ratios(options: LeakFreeSplit | NaiveImageSplit) -> Ratios | None:
    """The shares that train, val and test should have of all images; None where lists decide."""
    return None if isinstance(options, OfficialSplit) else Ratios(**target_shares(options))
