"""Fetch the corpus through npm: ``python -m training.fetch_corpus``.

The package chinese-poetry 2.0.1 (MIT, https://www.npmjs.com/package/chinese-poetry) contains the
Complete Tang Poems and the Complete Song Poems as JSON in traditional characters.
"""

import shutil
import subprocess
import sys
import tarfile

from .paths import DATA, PACKAGE

NAME, VERSION = "chinese-poetry", "2.0.1"


def main() -> int:
    """Download and unpack the package into training/data/package."""
    if (PACKAGE / "package.json").exists():
        print(f"{PACKAGE} is already there")
        return 0
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not installed; it comes with Node.js (https://nodejs.org).", file=sys.stderr)
        return 1
    DATA.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([npm, "pack", "--loglevel=error", f"{NAME}@{VERSION}"], cwd=DATA)
    if done.returncode:
        print("npm could not fetch the package; its message is above.", file=sys.stderr)
        return 1
    archive = DATA / f"{NAME}-{VERSION}.tgz"
    with tarfile.open(archive) as tar:
        tar.extractall(DATA, filter="data")
    archive.unlink()
    print(f"{NAME} {VERSION} is in {PACKAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
