"""A folder is looked through by its links, and whatever is left out is named."""

from pathlib import Path

from fm_unroll.curation.tree import Tree


def test_links_are_entered_once_and_loops_never(tmp_path: Path):
    root, store = tmp_path / "root", tmp_path / "store"
    (store / "P001").mkdir(parents=True)
    (store / "P001" / "a.h5").write_bytes(b"")
    (root / "z" / "deep").mkdir(parents=True)
    (root / "linked").symlink_to(store)
    for link in ("again", "zz"):  # before and after z, which goes by its own name
        (root / link).symlink_to(root / "z")
    (root / "z" / "up").symlink_to(root)
    (root / "z" / "out").symlink_to(tmp_path)
    (root / "z" / "self").symlink_to("self")
    (root / "z" / "gone").symlink_to("nowhere")
    tree = Tree.below(root)
    assert tree.folders == [root, root / "linked", root / "linked/P001", root / "z", root / "z/deep"]
    assert root / "linked/P001/a.h5" in tree.entries
    assert tree.left_out == {
        root / "again": f"the same folder as {root / 'z'}, by a link",
        root / "zz": f"the same folder as {root / 'z'}, by a link",
        root / "z/up": f"a link back to {root}, in which it lies: a loop",
        root / "z/out": f"a link back to {tmp_path}, in which it lies: a loop",
        root / "z/self": "Too many levels of symbolic links (a link to self)",
        root / "z/gone": "No such file or directory (a link to nowhere)",
    }


def test_what_is_hidden_is_not_looked_at(tmp_path: Path):
    root = tmp_path / ".hidden_root"
    (root / ".git").mkdir(parents=True)
    (root / ".git" / "a.h5").write_bytes(b"")
    (root / "._b.h5").write_bytes(b"")
    (root / "b.h5").write_bytes(b"")
    tree = Tree.below(root)
    assert (tree.folders, tree.entries) == ([root], [root / "b.h5"])
    assert tree.left_out == {root / ".git": "a hidden folder", root / "._b.h5": "a hidden file"}
