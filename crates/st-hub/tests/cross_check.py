"""One step of the cross-check with huggingface_hub; prints a JSON answer.

usage: cross_check.py STEP REPOSITORY CACHE_OR_FOLDER [FILE]      (HF_ENDPOINT names the Hub)
"""

import json
import sys

import huggingface_hub
from huggingface_hub import HfApi, hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache
from huggingface_hub.file_download import _CACHED_NO_EXIST


def main(step, repository, place, file=None):
    if step == "version":
        return huggingface_hub.__version__
    if step == "snapshot":
        return snapshot_download(repository, cache_dir=place)
    if step == "snapshot-offline":
        return snapshot_download(repository, cache_dir=place, local_files_only=True)
    if step == "file":
        return hf_hub_download(repository, file, cache_dir=place)
    if step == "known-absent":
        return try_to_load_from_cache(repository, file, cache_dir=place) is _CACHED_NO_EXIST
    if step == "scan":
        found = scan_cache_dir(place)
        return {
            "warnings": [str(warning) for warning in found.warnings],
            "repositories": sorted(repo.repo_id for repo in found.repos),
            "files": sorted(f.file_name for repo in found.repos for rev in repo.revisions for f in rev.files),
            "refs": sorted(ref for repo in found.repos for ref in repo.refs),
        }
    if step == "upload":
        api = HfApi(token="hf_write")
        created = api.create_repo(repository, private=True)
        commit = api.upload_folder(repo_id=created.repo_id, folder_path=place, commit_message="from Python")
        return commit.commit_url
    raise SystemExit(f"unknown step {step}")


print(json.dumps(main(*sys.argv[1:])))
