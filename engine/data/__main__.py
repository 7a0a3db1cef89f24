"""`python -m engine.data`: see `engine.data.main`."""

from engine.data import main

raise SystemExit(main())
