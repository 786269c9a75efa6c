"""Fills fuzz/corpus with seeds: names of files and listings, good and hostile."""

import json
import pathlib

CORPUS = pathlib.Path(__file__).parent / "corpus"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["config.json", "1_Pooling/config.json", "../x", "/etc/passwd", "a//b", "a/./b", "C:\\x", "a\\..\\b", "con.txt",
         "a.", "a ", "x" * 300, "/".join("abc" * 20), "ü/日本.json", "a\0b", ""]


def write(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def main():
    for number, name in enumerate(NAMES):
        write("names", str(number), name.encode())
        listing = {"sha": COMMIT, "siblings": [{"rfilename": "config.json"}, {"rfilename": name}]}
        write("listing", str(number), json.dumps(listing).encode())
    for name, listing in {
        "empty": {"sha": COMMIT, "siblings": []},
        "commit": {"sha": "../..", "siblings": [{"rfilename": "a"}]},
        "none": None,
        "twice": {"sha": COMMIT, "siblings": [{"rfilename": "a"}, {"rfilename": "a"}, {"rfilename": "A"}]},
        "kind": {"sha": 1, "siblings": [{"rfilename": 1}, 2]},
    }.items():
        write("listing", name, json.dumps(listing).encode())


if __name__ == "__main__":
    main()
