"""``python -m onescene`` is ``onescene``."""

from onescene.cli import main

raise SystemExit(main())
