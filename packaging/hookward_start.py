"""Where the single files begin. It is read by any Python, so that one that is too old is told what is missing."""

import sys


def main() -> int:
    """Run the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036  # nothing has checked it: these files are started as they are
        sys.exit("hookward needs Python 3.11 or newer, and this is " + sys.version.split()[0])
    from proxy.ops import cli  # noqa: PLC0415  # an older Python cannot read it

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
