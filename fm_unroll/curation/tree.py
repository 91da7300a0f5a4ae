"""Every folder below one, through links, none twice; and what was not looked at, with the reason."""

import stat
from dataclasses import dataclass, field
from pathlib import Path

from fm_unroll.files import is_hidden, unopened


@dataclass
class Tree:
    """What lies below a folder.

    Attributes:
        folders: the folders that were looked at, the first one included, sorted.
        entries: files and folders, hidden ones left out, sorted; links that lead nowhere are among them.
        left_out: folders, links and hidden files that were not looked at, each with the reason.
        unreadable: one line for each folder that cannot be read.
    """

    folders: list[Path] = field(default_factory=list)
    entries: list[Path] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def below(cls, root: Path) -> "Tree":
        """Look through a folder. Links come last, so that a folder goes by its own name where it has one."""
        tree = cls()
        entered: dict[tuple[int, int], Path] = {}
        folders, links = [root], list[Path]()
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            status = folder.stat()
            first = entered.setdefault((status.st_dev, status.st_ino), folder)
            if first is not folder:
                tree.left_out[folder] = f"the same folder as {first}, by a link"
                continue
            try:
                found = sorted(folder.iterdir())
            except OSError as error:
                tree.unreadable.append(f"{folder}: {error.strerror}")
                continue
            tree.folders.append(folder)
            for entry in found:
                if tree.admits(entry):
                    tree.entries.append(entry)
                    if entry.is_dir():
                        (links if entry.is_symlink() else folders).append(entry)
        tree.folders.sort()
        tree.entries.sort()
        return tree

    def admits(self, entry: Path) -> bool:
        """Whether something is to be looked at; the reason is noted where it is not."""
        if is_hidden(entry):
            self.left_out[entry] = "a hidden folder" if entry.is_dir() else "a hidden file"
            return False
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            self.left_out[entry] = unopened(entry, error)
            return True  # for whoever takes it for a scan by its name
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            self.left_out[entry] = "neither a file nor a folder"
        elif entry.is_symlink() and stat.S_ISDIR(mode) and leads_back(entry):
            self.left_out[entry] = f"a link back to {entry.resolve()}, in which it lies: a loop"
        return entry not in self.left_out


def leads_back(link: Path) -> bool:
    """Whether a link leads to a folder in which it lies, on whatever floor."""
    return link.parent.resolve().is_relative_to(link.resolve())
