"""Makes the benchmark's texts: `python texts.py FOLDER [--retrieval BEIR_FOLDER]`.

From packages of Debian that `apt-get download` gives without installing them: glosses of WordNet (dict-wn) and the prose
of the Debian Administrator's Handbook and the Developer's Reference. Writes one text per line:

    short.txt        dictionary glosses
    glosses.txt      very many of them, for models that are faster than a few thousand can show
    long.txt         paragraphs of 150 to 400 words (neighbouring ones are joined)
    mixed.txt        half glosses, a quarter paragraphs of 20 to 150 words, a quarter long ones
    single.txt       glosses that are asked one by one
    calibration.txt  glosses and paragraphs that occur in none of the others, for static quantisation
    sts.txt          both sides of the STS benchmark's test pairs, from fixtures/data, and sts-scores.json
    documents.txt, queries.txt, judgements.json    a retrieval collection, where a folder in BEIR form is given

The choice is fixed by a seed; texts.json records counts and checksums.
"""

import argparse
import gzip
import hashlib
import json
import random
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

PACKAGES = ["dict-wn", "debian-handbook", "developers-reference"]
ROOT = Path(__file__).resolve().parents[2]
COUNTS = {"short": 4000, "long": 400, "single": 400, "mixed": 4000, "calibration": 300, "glosses": 40000}


def fetch(folder: Path) -> Path:
    unpacked = folder / "packages"
    if not (unpacked / "done").exists():
        unpacked.mkdir(parents=True, exist_ok=True)
        for package in PACKAGES:
            subprocess.run(["apt-get", "download", "-q", package], cwd=unpacked, check=True)
        for archive in unpacked.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
        (unpacked / "done").touch()
    return unpacked


def glosses(unpacked: Path) -> list[str]:
    with gzip.open(unpacked / "usr/share/dictd/wn.dict.dz", "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("00-database-url")) + 2
    senses: list[str] = []
    for line in lines[start:]:
        if re.match(r"\s+((adj|adv|n|v) )?\d+: ", line):
            senses.append(line.split(": ", 1)[1])
        elif line.startswith("      ") and senses:
            senses[-1] += " " + line.strip()
    found = set()
    for sense in senses:
        gloss = " ".join(re.split(r'\[(?:syn|ant|also):|; "', sense)[0].split())
        if 3 <= len(gloss.split()) <= 40:
            found.add(gloss)
    return sorted(found)


class Paragraphs(HTMLParser):
    """The text of each paragraph, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.found: list[str] = []

    def handle_starttag(self, tag: str, _attributes: list) -> None:
        classes = dict(_attributes).get("class") or ""
        if tag == "p" or tag == "div" and "para" in classes.split():
            self.depth += 1
            self.found.append("")
        elif tag == "div" and self.depth:
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "div") and self.depth:
            self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.found[-1] += data


def paragraphs(unpacked: Path) -> list[list[str]]:
    """Paragraphs of at least 20 words, page by page."""
    pages = []
    for page in sorted((unpacked / "usr/share/doc/debian-handbook/html/en-US").glob("*.html")):
        parser = Paragraphs()
        parser.feed(page.read_text(encoding="utf-8"))
        pages.append(parser.found)
    with gzip.open(unpacked / "usr/share/developers-reference/developers-reference.txt.gz", "rt", encoding="utf-8") as file:
        pages.append(file.read().split("\n\n"))
    clean = [[" ".join(text.split()) for text in page] for page in pages]
    return [[text for text in page if len(text.split()) >= 20 and "+---" not in text] for page in clean]


def long_texts(pages: list[list[str]], rng: random.Random) -> list[str]:
    found = []
    for page in pages:
        parts: list[str] = []
        enough = rng.randint(150, 320)
        for text in page:
            parts.append(text)
            words = sum(len(part.split()) for part in parts)
            if words >= enough:
                if words <= 400:
                    found.append(" ".join(parts))
                parts, enough = [], rng.randint(150, 320)
    return found


def retrieval(folder: Path, out: Path) -> None:
    def rows(name: str) -> list[dict]:
        return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]

    documents, queries = rows("corpus.jsonl"), rows("queries.jsonl")
    text = [" ".join(f"{row.get('title', '')} {row['text']}".split()) for row in documents]
    write(out / "documents.txt", text)
    write(out / "queries.txt", [" ".join(row["text"].split()) for row in queries])
    place = {str(row["_id"]): number for number, row in enumerate(documents)}
    asked = {str(row["_id"]): number for number, row in enumerate(queries)}
    judged = []
    for line in (folder / "qrels/test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")[:3]
        if float(grade) > 0 and query in asked and document in place:
            judged.append([asked[query], place[document], float(grade)])
    (out / "judgements.json").write_text(json.dumps(judged))


def write(path: Path, texts: list[str]) -> None:
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--retrieval", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.retrieval:
        retrieval(arguments.retrieval, folder)
    if (folder / "texts.json").exists():
        return
    unpacked = fetch(folder)
    rng = random.Random(4)
    short, pages = glosses(unpacked), paragraphs(unpacked)
    long = long_texts(pages, rng)
    middle = sorted({text for page in pages for text in page if len(text.split()) < 150})
    for texts in (short, long, middle):
        rng.shuffle(texts)
    kept = short[: COUNTS["calibration"] // 2] + middle[: COUNTS["calibration"] // 2]
    short, middle = short[COUNTS["calibration"] // 2 :], middle[COUNTS["calibration"] // 2 :]
    quarter = COUNTS["mixed"] // 4
    # There are fewer paragraphs than glosses, so a mixed list may hold one twice.
    mixed = short[-2 * quarter :] + rng.choices(middle, k=quarter) + rng.choices(long, k=quarter)
    rng.shuffle(mixed)
    write(folder / "calibration.txt", kept)
    write(folder / "short.txt", short[: COUNTS["short"]])
    write(folder / "glosses.txt", short[: COUNTS["glosses"]])
    write(folder / "single.txt", short[COUNTS["short"] : COUNTS["short"] + COUNTS["single"]])
    write(folder / "long.txt", long[: COUNTS["long"]])
    write(folder / "mixed.txt", mixed)
    with gzip.open(ROOT / "fixtures/data/stsb-test.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    write(folder / "sts.txt", [row[1] for row in rows] + [row[2] for row in rows])
    (folder / "sts-scores.json").write_text(json.dumps([float(row[0]) for row in rows]))
    record = {}
    for path in sorted(folder.glob("*.txt")):
        data = path.read_bytes()
        lines = data.decode().splitlines()
        words = sum(len(line.split()) for line in lines) / len(lines)
        record[path.name] = {"texts": len(lines), "words": round(words, 1), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "texts.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
