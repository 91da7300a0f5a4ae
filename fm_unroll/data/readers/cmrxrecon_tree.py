"""Where the files of CMRxRecon lie: the trees of the challenges of 2023, 2024 and 2025.

2023::

    MultiCoil/{Cine,Mapping}/{TrainingSet,ValidationSet,TestSet}/
        FullSample/P001/{cine_sax,cine_lax,T1map,T2map}.mat                          kspace_full
        AccFactor{04,08,10}/P001/{cine_sax,...}.mat, {cine_sax,...}_mask.mat         kspace_sub04, mask04, ...

2024::

    MultiCoil/{Cine,Mapping,Aorta,Tagging,Flow2d,BlackBlood}/{TrainingSet,ValidationSet,TestSet}/
        FullSample/P001/{cine_lvot,aorta_sag,tagging,...}.mat                        kspace_full
        UnderSample_Task1/P001/cine_sax_kus_Uniform{4,8,10}.mat                      kus
        UnderSample_Task2/P001/cine_sax_kus_kt{Uniform,Gaussian,Radial}{4,...,24}.mat
        Mask_Task{1,2}/P001/cine_sax_mask_Uniform4.mat                               mask

2025, below ``TaskR1``, ... where it is not for training; ``P001`` is another person under every scanner::

    MultiCoil/{Cine,Mapping,LGE,Perfusion,T1w,...}/{TrainingSet,ValidationSet,TestSet}/
        FullSample/Center001/UIH_30T_umr780/P001/cine_lax_3ch.mat                    kspace
        UnderSample_TaskR1/Center001/.../cine_sax_kus_{Uniform,ktGaussian,ktRadial}{8,16,24}.mat
        Mask_TaskR1/Center001/.../cine_sax_mask_Uniform8.mat                         mask

Sources: ``ChallengeDataFormat``, ``Submission`` and ``CMRxReconMaskGeneration`` in
https://github.com/CmrxRecon/CMRxRecon, https://github.com/CmrxRecon/CMRxRecon2024 and
https://github.com/CmrxRecon/CMRxRecon2025.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fm_unroll.data.lines import names_mask
from fm_unroll.files import visible

# How the names of a category's contrasts begin: 2025 has more views than its pages list.
CONTRASTS = {
    "Cine": ("cine_",),
    "Mapping": ("T1map", "T2map", "T2smap"),
    "Aorta": ("aorta_",),
    "Tagging": ("tagging",),
    "Flow2d": ("flow2d",),
    "BlackBlood": ("blackblood",),
    "LGE": ("lge_",),
    "Perfusion": ("perfusion",),
    "T1rho": ("T1rho",),
    "T1w": ("T1w",),
    "T2w": ("T2w",),
}
SUBSETS = ("TrainingSet", "ValidationSet", "TestSet")
SUBJECT = re.compile(r"P\d+")
CENTER = re.compile(r"Center\d+")
SCAN = re.compile(r"(?P<contrast>\w+?)(?:_kus_(?P<pattern>[A-Za-z]+)(?P<acceleration>\d+))?\.mat")
FOLDER = re.compile(r"(FullSample|AccFactor\d+|UnderSample|Mask)(_.*)?")  # of a sampling, or of masks
SAMPLING = re.compile(r"FullSample|AccFactor\d\d|(Uniform|ktUniform|ktGaussian|ktRadial)\d+")
YEARS = {  # names of folders that one challenge alone has
    "2023": re.compile(r"AccFactor\d+|SingleCoil"),
    "2024": re.compile(r"(UnderSample|Mask)_Task[12]|ImgSnapshot|Aorta|Tagging"),
    "2025": re.compile(
        r"(UnderSample|Mask|FullSample)_Task([RS]\d|All)|Center\d+|LGE|Perfusion|T1rho|T[12]w"
    ),
}


def category_of(contrast: str) -> str | None:
    """The folder of a contrast, such as ``Cine``; None where there is no such contrast."""
    if names_mask(contrast):
        return None
    return next((name for name, begins in CONTRASTS.items() if contrast.startswith(begins)), None)


@dataclass(frozen=True)
class Place:
    """What the path of a scan says.

    Attributes:
        subject: ``P001``, or with the scanner ``Center001/UIH_30T_umr780/P001``.
        contrast: ``cine_sax``, ``T1map``, ``aorta_sag``, ...
        pattern: ``Uniform``, ``ktUniform``, ``ktGaussian`` or ``ktRadial`` of an undersampled file of 2024 or
            2025; else empty.
        acceleration: its nominal acceleration, as text; else empty.
    """

    subject: str
    contrast: str
    pattern: str = ""
    acceleration: str = ""

    @classmethod
    def of(cls, path: Path) -> "Place":
        """Read a path, wherever it lies."""
        subject = path.parent.name
        scanner = path.parent.parent
        if CENTER.fullmatch(scanner.parent.name):
            subject = f"{scanner.parent.name}/{scanner.name}/{subject}"
        found = SCAN.fullmatch(path.name)
        if found is None:
            return cls(subject, path.stem)
        return cls(subject, found["contrast"], found["pattern"] or "", found["acceleration"] or "")


def multicoil(root: Path) -> Path:
    """The folder of the categories: ``root`` holds ``MultiCoil``, or is it."""
    return root / "MultiCoil" if (root / "MultiCoil").is_dir() else root


def home(path: Path) -> tuple[Path, str, str] | None:
    """The root, the subset and the sampling of a scan; None where it does not lie in such a tree."""
    for folder, subset in zip(path.parents, path.parents[1:], strict=False):
        place = Place.of(path)
        sampling = f"{place.pattern}{place.acceleration}" or folder.name.split("_")[0]
        if subset.name in SUBSETS and len(subset.parents) > 1 and SAMPLING.fullmatch(sampling):
            top = subset.parents[1]
            return (top.parent if top.name == "MultiCoil" else top), subset.name, sampling
    return None


def in_file_names(sampling: str) -> bool:
    """Whether a sampling is part of the files' names, as in 2024 and 2025, not of their folder's."""
    return sampling != "FullSample" and not sampling.startswith("AccFactor")


def sampling_folders(subset: Path, sampling: str) -> list[Path]:
    """The folders of a subset that hold its scans of one sampling; some end in the name of a task."""
    return [folder for folder in visible(subset) if is_of_sampling(folder.name, sampling)]


def is_of_sampling(folder: str, sampling: str) -> bool:
    """Whether the name of a folder is that of one with scans of a sampling."""
    return folder.split("_")[0] == ("UnderSample" if in_file_names(sampling) else sampling)


def in_another_part(place: Path, subset: str, sampling: str) -> bool:
    """Whether a file belongs to another subset or sampling than these, or is a mask, by its path."""
    named = Place.of(place)
    return (
        "SingleCoil" in place.parts
        or names_mask(place.stem)
        or any(folder in SUBSETS and folder != subset for folder in place.parts)
        or any(FOLDER.fullmatch(folder) and not is_of_sampling(folder, sampling) for folder in place.parts)
        or bool(named.pattern and f"{named.pattern}{named.acceleration}" != sampling)
    )


def subject_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    """The subjects in a folder, or in its folders of centers and scanners, each with its folder.

    A link that leads nowhere comes without a subject, for the index to name it.
    """
    for entry in visible(folder):
        if entry.is_symlink() and not entry.exists():
            yield "", entry
        elif SUBJECT.fullmatch(entry.name):
            yield Place.of(entry / "x").subject, entry
        elif entry.is_dir() and (CENTER.fullmatch(entry.name) or CENTER.fullmatch(folder.name)):
            yield from subject_folders(entry)


def mask_places(path: Path) -> list[Path]:
    """Where the mask of an undersampled scan of 2024 or 2025 may lie: in folders for its task or for all."""
    folder = next((parent for parent in path.parents if parent.name.startswith("UnderSample")), None)
    if folder is None:
        return []
    mask = path.with_name(path.name.replace("_kus_", "_mask_")).relative_to(folder)
    names = (folder.name.replace("UnderSample", "Mask", 1), "Mask_TaskAll", "Mask")
    return [folder.with_name(name) / mask for name in names]


def edition(root: Path) -> str:
    """The year of the challenge whose tree lies below a root, by folders and files that one year alone has.

    Returns:
        ``2023``, ``2024``, ``2025``; empty where the tree does not show it, or shows several.
    """
    names = {entry.name for entry in visible(root)}
    level = [multicoil(root)]
    for _ in range(4):  # categories, subsets, samplings, centers or subjects
        level = [entry for folder in level for entry in visible(folder) if entry.is_dir()]
        names |= {folder.name for folder in level}
    years = {year for year, sign in YEARS.items() if any(map(sign.fullmatch, names))}
    if any((subject / "cine_lvot.mat").is_file() for subject in level):
        years.add("2024")  # that of 2025 lies deeper
    return years.pop() if len(years) == 1 else ""
